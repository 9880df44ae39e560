//! The longer texts of the help.

/// Below the help of the whole command.
pub(crate) const EXAMPLES: &str = "\
Examples:
  sealane up                                   server and agent on this host
  sealane apply -f net.yaml                    make networks and policies as a file describes them
  sealane run --name web -l app=web -- nginx   a process with a place on the network
  sealane get endpoints -A                     who is where
  sealane explain shop/web shop/db:5432        why it passes, or does not
  sealane drops                                what was dropped, and by which rule
  sealane lab up --nodes 3                     a fleet to try things on, in this machine

Exit codes: 0 done, 1 failed, 2 wrong arguments; run, lab run, lab exec and lab host end with their command's.";

/// Below the help of `completion`.
pub(crate) const COMPLETION_EXAMPLES: &str = "\
Examples:
  sealane completion bash > /etc/bash_completion.d/sealane
  sealane completion zsh > ~/.zfunc/_sealane
  sealane completion fish > ~/.config/fish/completions/sealane.fish";
