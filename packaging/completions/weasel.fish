# SPDX-License-Identifier: Apache-2.0
# fish completion for weasel

function __weasel_option -a command option
    complete -c weasel -n "__fish_seen_subcommand_from $command" -l $option $argv[3..]
end

complete -c weasel -f
complete -c weasel -n __fish_use_subcommand -l help -d 'how weasel is used'
complete -c weasel -n __fish_use_subcommand -l version -d 'the version of weasel'
complete -c weasel -n __fish_use_subcommand -a commit -d 'make transactions of writes and checks'
complete -c weasel -n __fish_use_subcommand -a status -d 'what became of a transaction'
complete -c weasel -n __fish_use_subcommand -a version -d "the server's latest durable version"
complete -c weasel -n __fish_use_subcommand -a subscribe -d 'write transactions as they are committed'
complete -c weasel -n __fish_use_subcommand -a follow -d 'keep an SQLite table at what the log says'
complete -c weasel -n __fish_use_subcommand -a bench -d 'put load on a server and measure'
complete -c weasel -n __fish_use_subcommand -a log -d 'dump, verify or repair the files of a log'
complete -c weasel -n '__fish_seen_subcommand_from log' -a 'dump verify repair'
complete -c weasel -n '__fish_seen_subcommand_from log' -a '(__fish_complete_path)'

for command in commit status version subscribe follow bench log
    __weasel_option $command help -d 'write how the command is used'
end
for command in commit status version subscribe follow bench
    __weasel_option $command server -x -a 'http:// unix:' -d 'where the server is'
end
for command in commit status version
    __weasel_option $command timeout -x -d 'give up after so many seconds'
end
for command in commit status version subscribe bench
    __weasel_option $command json -d 'write JSON'
end
for command in commit subscribe
    __weasel_option $command hex -d 'keys and values are hex'
    __weasel_option $command base64 -d 'keys and values are base64'
end
for command in subscribe follow
    __weasel_option $command until-end -d 'end at the version that the server had at the start'
    __weasel_option $command silence -x -d 'connect again when nothing came for so many seconds'
end

__weasel_option commit write -x -d 'KEY=VALUE'
__weasel_option commit delete -x -d 'a key'
__weasel_option commit delete-range -x -d 'BEGIN END'
__weasel_option commit read -x -d 'KEY[@VERSION]'
__weasel_option commit read-range -x -d 'BEGIN END [@VERSION]'
__weasel_option commit read-version -x -d 'at which was read'
__weasel_option commit file -r -F -d 'transactions as JSON'
__weasel_option commit request-id -x -d 'its name'
__weasel_option commit leader -x -d 'commit only by this leader'
__weasel_option commit retry-conflicts -x -d 'try again so often'
__weasel_option status min-version -x -d 'when it was sent'
__weasel_option subscribe after -x -d 'begin after this version'
__weasel_option subscribe range -x -d 'BEGIN END'
__weasel_option subscribe raw -d 'server-sent events'
__weasel_option subscribe limit -x -d 'end after so many transactions'
__weasel_option follow sqlite -r -F -d 'the database'
__weasel_option follow table -x -d 'the table'
__weasel_option follow batch-ms -x -d 'the longest that a change waits'
__weasel_option bench clients -x -d connections
__weasel_option bench duration -x -d seconds
__weasel_option bench rate -x -d 'open loop: transactions a second'
__weasel_option bench batch -x -d 'transactions in a request'
__weasel_option bench operations -x -d 'writes in a transaction'
__weasel_option bench reads -x -d 'point reads in a transaction'
__weasel_option bench check-share -x -d 'percent that only read'
__weasel_option bench conflict-share -x -d 'percent in conflict'
__weasel_option bench keys -x -d 'different keys'
__weasel_option bench distribution -x -a 'uniform zipf sequential' -d 'of keys'
__weasel_option bench zipf-exponent -x -d 'how much more some are wanted'
__weasel_option bench value-bytes -x -d 'of each value'
__weasel_option bench format -x -a 'protobuf json' -d 'of requests'
__weasel_option bench seed -x -d 'the same keys in each run'
__weasel_option log from -x -d 'the first version'
__weasel_option log to -x -d 'the last version'
__weasel_option log format -x -a 'text json' -d 'of the dump'
__weasel_option log keys-only -d 'no values'
__weasel_option log truncate-at -x -d 'the last version to keep'
__weasel_option log yes -d 'do it'
functions -e __weasel_option
