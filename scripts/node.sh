# shellcheck shell=bash
# Node's programs that look at the OpenAPI document; sourced from the repository's root by the other scripts.
#
# tests/clients/package-lock.json pins them; they are installed into $node_tools, which .installed says.

# shellcheck disable=SC2034  # the scripts that source this use it
node_tools=.cache/clients

ensure_node_tools() {
  local version
  if ! version=$(node --version 2>/dev/null) || ! command -v npm >/dev/null; then
    echo "this needs Node 20.19 or newer with npm" >&2
    return 1
  fi
  if [[ $(printf '%s\n' v20.19.0 "$version" | sort --version-sort | head -n 1) != v20.19.0 ]]; then
    echo "this needs Node 20.19 or newer, not $version" >&2
    return 1
  fi

  if [[ -f $node_tools/.installed ]] &&
    cmp --quiet $node_tools/.installed tests/clients/package-lock.json; then
    return
  fi
  echo "installing the locked packages (node)" >&2
  mkdir -p $node_tools
  cp tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc $node_tools/
  npm ci --prefix $node_tools --silent
  cp tests/clients/package-lock.json $node_tools/.installed
}
