"""``mlp-xp completion``: the script that makes a shell complete the command.

The script asks the command, by click's protocol, what a word may become: lines ``plain,TEXT``, or ``file,.csv|.tsv``
for the names of files that end so and of folders. Click's own scripts offer either texts or files, never both.
"""

import click
from click.shell_completion import get_completion_class

from mlp_xp.cli._help import command_of
from mlp_xp.cli._output import Screen

_BASH = r"""
%(complete_func)s() {
    local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]} item value name
    local -a words=()
    for item in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
        [[ $item == = ]] || words+=("$item")  # bash makes three words of --option=value
    done
    # as the file system has it: without quotes, and without what a backslash protects
    word=${word#=}; word=${word#[\'\"]}; word=${word//\\/}
    COMPREPLY=()
    while IFS= read -r item; do
        value=${item#*,}
        if [[ $item == plain,* ]]; then
            [[ ${COMP_WORDS[COMP_CWORD]} == [\'\"]* ]] || printf -v value %%q "$value"  # or else a quote does
            COMPREPLY+=("$value")
        elif [[ $item == file,* ]]; then
            compopt -o filenames 2> /dev/null
            while IFS= read -r name; do
                if [[ -d ${name/#\~/$HOME} || ${name,,} == *@($value) ]]; then COMPREPLY+=("$name"); fi
            done < <(compgen -f -- "$word")
        fi
    done < <(COMP_WORDS="${words[*]}$IFS${word@Q}" COMP_CWORD=${#words[@]} \
%(complete_var)s=bash_complete "$1" 2> /dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""
#compdef %(prog_name)s

%(complete_func)s() {
    local -a plain described response
    local type key description
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
%(complete_var)s=zsh_complete %(prog_name)s 2> /dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    for type key description in ${response}; do
        if [[ $type == file ]]; then
            _files -g "(#i)*(${key})(-.)"
        elif [[ $type == plain && $description == _ ]]; then
            plain+=("$key")
        elif [[ $type == plain ]]; then
            described+=("$key:$description")
        fi
    done
    (( $#described )) && _describe -V unsorted described
    (( $#plain )) && compadd -V unsorted -a plain
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = r"""
function %(complete_func)s
    set -l word (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' $word)
    set -l path (string replace -r -- '^--[^=]+=' '' $word)
    set -lx COMP_WORDS (string escape -- (commandline -cpo) | string join ' ')  # the words before this one
    set -lx COMP_CWORD (string replace -r -- "^['\"](\S*)\$" '$1' $word)  # click before 8.2 keeps a quote
    for item in (%(complete_var)s=fish_complete %(prog_name)s 2> /dev/null)
        set -l parts (string split -m 1 , -- $item)
        if test "$parts[1]" = plain
            echo "$option$parts[2]"
        else if test "$parts[1]" = file
            set -l ends (string replace -a . '\.' -- $parts[2])
            for name in (complete -C "'' $path")  # fish's own names of files
                string match -qri -- "(/|$ends)\$" (string split \t -- $name)[1]; and echo "$option$name"
            end
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@command_of(
    "completion bash >> ~/.bashrc",
    "completion zsh >> ~/.zshrc",
    "completion fish > ~/.config/fish/completions/mlp-xp.fish",
)
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, names and files, in every shell started afterwards.

    For the running shell alone: eval "$(mlp-xp completion bash)".
    """
    complete = get_completion_class(shell)
    assert complete is not None  # click has these three
    script = complete(context.find_root().command, {}, "mlp-xp", "_MLP_XP_COMPLETE")
    Screen().say(_SCRIPTS[shell].strip() % script.source_vars())
