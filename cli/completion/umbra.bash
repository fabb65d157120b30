# Completes umbra's commands, options, tokens and labels in bash.

# Prints the tokens and labels of a share, one a line; nothing when that takes long or fails.
_umbra_snapshots() {
    timeout 2 umbra snapshot list "$1" --json 2>/dev/null |
        sed -n -E 's/^ *"(token|label)": "(.*)",?$/\2/p'
}

_umbra() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local word command='' share='' position=0 i words='' line
    local -A options=(
        [init]='--diff-area --max-size --on-full --on-event'
        [mount]='--foreground --read-only --wait --take-over -o'
        [umount]='--all' [restart]='--all' ['share nfs']='--clients --read-only --kernel' [status]='--json'
        ['snapshot create']='--label --hold --for --until --no-writers --allow-failed-writers --writer --exclude-writer --json' ['snapshot list']='--json'
        ['snapshot delete']='--oldest --all' ['snapshot hold']='--reason --for --until'
        ['snapshot release']='--reason' ['snapshot diff']='--json'
        [versions]='--json' [revert]='--in-place --replace-open --dry-run --no-writers --json --json-lines'
        [restore]='--from --to --component --method --include --exclude --in-place --replace-open --dry-run --no-writers --json --json-lines'
        ['restore run']='--check --alias --json-lines' ['restore list']='--json' ['restore status']='--json'
        ['restore resume']='--no-writers --json --json-lines' ['restore undo']='--no-writers --json --json-lines' ['restore forget']=''
        ['writers list']='--from --json' ['writers add']='--set' ['writers remove']='' ['writers check']='--json'
        ['share samba']='--name --remote-snapshots' [doctor]='--smb-conf --json'
        ['storage show']='--json'
        [events]='--follow --after --json' [set]='--json'
        ['storage resize']='--max-size --on-full --evict --dry-run --json'
        ['storage scrub']='--json' ['storage rebuild-index']=''
    )
    COMPREPLY=()

    # The command, the first argument after it (the share or a path in it), and how many come before the cursor.
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            --from | --to | --label | --hold | --reason | --for | --until | --wait | --diff-area | --max-size | --on-full | --on-event | --after | --name | --smb-conf | --clients | --component | --method | --include | --exclude | --alias | --writer | --exclude-writer | --set | -o)
                i=$((i + 1))
                continue
                ;;
            -*) continue ;;
        esac
        [[ $word == snap && -z $command ]] && word=snapshot
        if [[ $command == restore && -z $share && $word =~ ^(run|list|status|resume|undo|forget)$ ]]; then
            command+=" $word"
            continue
        fi
        case $command in
            '') command=$word ;;
            snapshot | storage | writers | share) command+=" $word" ;;
            *)
                [[ -n $share ]] || share=$word
                position=$((position + 1))
                ;;
        esac
    done

    case $previous in
        --on-full) words='evict throttle refuse' ;;
        -o) words='writeback memory= lease= wait= debug ro noexec nosuid nodev noatime' ;;
        --method) words='merge replace if-missing if-can-replace mirror' ;;
        --from) [[ -n $share ]] && words=$(_umbra_snapshots "$share") ;;
        --to | --diff-area)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        --label | --hold | --reason | --for | --until | --wait | --max-size | --on-event | --after | --include | --exclude | --alias | --writer | --exclude-writer | --set) return ;;
        *)
            case $command in
                '') words='init mount umount restart status snapshot versions restore revert storage events set writers share doctor' ;;
                set)
                    ((position != 1)) || words='on-event snapdir share-view-max snapshot-access'
                    ;;
                share) words='samba nfs remote-snapshot' ;;
                snapshot) words='create list delete hold release diff' ;;
                writers) words='list add remove check' ;;
                'writers add') ((position == 0)) || words=$'postgresql\nsqlite\nsystemd-unit' ;;
                storage) words='show resize scrub rebuild-index' ;;
                revert) ((position == 0)) || words=$(_umbra_snapshots "$share") ;;
                'snapshot delete' | 'snapshot hold' | 'snapshot release' | 'snapshot diff')
                    ((position == 0)) || words=$(_umbra_snapshots "$share")
                    ;;
            esac
            ;;
    esac
    if [[ $current == -* ]]; then
        words=${options[$command]:-}
        words=${words// /$'\n'}
        words+=$'\n--help'
    elif [[ -z $words ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
    elif [[ $words != *$'\n'* ]] && [[ $previous != --from ]] && ((position == 0)); then
        words=${words// /$'\n'}
    fi
    # Labels may hold spaces: compared line by line, quoted for the shell.
    while IFS= read -r line; do
        [[ -n $line && $line == "$current"* ]] && COMPREPLY+=("$(printf '%q' "$line")")
    done <<<"$words"
}

# Tokens begin with @, which would otherwise start a new word.
COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}
complete -F _umbra umbra
