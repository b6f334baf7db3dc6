# SPDX-License-Identifier: Apache-2.0
# bash completion for weasel

_weasel_options() {
    case $1 in
    commit) echo '--write --delete --delete-range --read --read-range --read-version --hex --base64 --file
        --request-id --leader --retry-conflicts --timeout --json --server --help' ;;
    status) echo '--json --min-version --server --timeout --help' ;;
    version) echo '--json --server --timeout --help' ;;
    subscribe) echo '--after --range --hex --base64 --json --raw --limit --until-end --silence --server --help' ;;
    follow) echo '--sqlite --table --batch-ms --until-end --silence --server --help' ;;
    bench) echo '--clients --duration --rate --batch --operations --reads --check-share --conflict-share --keys
        --distribution --zipf-exponent --value-bytes --format --seed --json --server --help' ;;
    log) echo '--from --to --format --keys-only --truncate-at --yes --help' ;;
    esac
}

_weasel() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'commit status version subscribe follow bench log help --help --version' \
            -- "$current")
        return
    fi
    case $command:$previous in
    *:--file | *:--sqlite) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    *:--server) compopt -o nospace; mapfile -t COMPREPLY < <(compgen -W 'http:// unix:' -- "$current") ;;
    bench:--format) mapfile -t COMPREPLY < <(compgen -W 'protobuf json' -- "$current") ;;
    bench:--distribution) mapfile -t COMPREPLY < <(compgen -W 'uniform zipf sequential' -- "$current") ;;
    log:--format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current") ;;
    log:log) mapfile -t COMPREPLY < <(compgen -W 'dump verify repair --help' -- "$current") ;;
    *)
        if [[ $current == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_weasel_options "$command")" -- "$current")
        elif [ "$command" = log ]; then
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        ;;
    esac
}

complete -F _weasel weasel
