# SPDX-License-Identifier: Apache-2.0
# bash completion for weaseldb; the keys of --set are asked of the program itself

_weaseldb() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} keys
    COMPREPLY=()
    case $previous in
    --config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    --set)
        compopt -o nospace
        keys=$("${COMP_WORDS[0]}" --print-config 2>/dev/null |
            awk '/^\[/ {table = substr($1, 2, length($1) - 2) "."} $2 == "=" {print table $1 "="}')
        mapfile -t COMPREPLY < <(compgen -W "$keys" -- "$current")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W '--config --set --check-config --print-config --version --help' \
            -- "$current")
        ;;
    esac
}

complete -F _weaseldb weaseldb
