# SPDX-License-Identifier: Apache-2.0
# fish completion for weaseldb; the keys of --set are asked of the program itself

function __weaseldb_keys
    weaseldb --print-config 2>/dev/null |
        awk '/^\[/ {table = substr($1, 2, length($1) - 2) "."} $2 == "=" {print table $1 "="}'
end

complete -c weaseldb -f
complete -c weaseldb -l config -r -F -d 'read settings from a TOML file'
complete -c weaseldb -l set -x -a '(__weaseldb_keys)' -d 'change one setting'
complete -c weaseldb -l check-config -d 'say whether the settings are right'
complete -c weaseldb -l print-config -d 'write the settings in force'
complete -c weaseldb -l version -d 'write the version'
complete -c weaseldb -l help -d 'write how it is used'
