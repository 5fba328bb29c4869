# shellcheck shell=bash
# The project's virtual environment; sourced from the repository's root by the other scripts.
#
# .venv/.made-by says which interpreter made it and for which directory: an environment that is half
# made, was moved, or whose interpreter changed beneath it is remade. .venv/.holds-KIND carries the
# hash of what was installed, so that nothing happens when there is nothing to do.

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "hacdbs-sim needs Python 3.11 or newer with its venv module; set PYTHON to name one" >&2
  return 1
}

# describe_python INTERPRETER: the installation behind it, the same inside and outside of a venv
describe_python() {
  "$1" -I -c 'import sys; print(sys.base_prefix, sys.version, sys.argv[1])' "$PWD" 2>/dev/null
}

venv_is_sound() {
  local made_by
  made_by=$(describe_python .venv/bin/python) || return
  [[ -f .venv/.made-by && $(<.venv/.made-by) == "$made_by" ]] || return
  # An interpreter that was requested by name must be the one
  [[ -z ${PYTHON:-} || $(describe_python "$PYTHON") == "$made_by" ]]
}

hash_of() {
  cat "$@" | .venv/bin/python -I -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# holds KIND: whether what KIND needs is installed as the locks say now
holds() {
  [[ -f .venv/.holds-$1 && $(<".venv/.holds-$1") == "$(hash_of_kind "$1")" ]]
}

hash_of_kind() {
  case $1 in
    runtime) hash_of pyproject.toml requirements.txt requirements-build.txt ;;
    dev) hash_of pyproject.toml requirements-dev.txt ;;
  esac
}

# ensure_venv runtime|dev
ensure_venv() {
  local kind=$1 python
  if ! venv_is_sound; then
    python=$(find_python)
    echo "making .venv with $python" >&2
    rm -rf .venv
    "$python" -m venv .venv
    describe_python .venv/bin/python >.venv/.made-by
  fi
  if holds "$kind"; then
    return
  fi

  rm -f .venv/.holds-*
  echo "installing the locked packages ($kind)" >&2
  if [[ $kind == dev ]]; then
    pip_install --require-hashes -r requirements-dev.txt
  else
    pip_install --require-hashes -r requirements.txt -r requirements-build.txt
  fi
  pip_install --no-deps --no-build-isolation --editable .
  # The development lock holds all of the runtime one, and the build backend too
  [[ $kind == runtime ]] || hash_of_kind runtime >.venv/.holds-runtime
  hash_of_kind "$kind" >".venv/.holds-$kind"
}

pip_install() {
  .venv/bin/python -I -m pip install -qq --disable-pip-version-check "$@"
}
