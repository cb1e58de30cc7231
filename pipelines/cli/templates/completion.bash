# Completion of `tenon` for bash. The program itself knows the words: its verbs, their options and choices, and those of the
# plugins that are there.
_tenon() {
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(tenon completion -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- \
        "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -o bashdefault -F _tenon tenon
