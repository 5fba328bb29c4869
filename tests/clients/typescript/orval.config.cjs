module.exports = {
  hacdbs: {
    input: process.env.HACDBS_DOCUMENT,
    output: { target: "generated/orval/client.ts", client: "fetch", baseUrl: process.env.HACDBS_URL },
  },
};
