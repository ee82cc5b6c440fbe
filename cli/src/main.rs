//! The command line of Plimsoll.

mod ask;
mod bench;
mod command;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use command::bench::BenchArguments;
use command::certs::CertsArguments;
use command::completions::CompletionsArguments;
use command::doubt::{ResolveArguments, TxnStatusArguments};
use command::members::{MemberArguments, StatusArguments};
use command::read::{GetArguments, ScanArguments};
use command::serve::ServeArguments;
use command::watch::WatchArguments;
use command::write::{DeleteArguments, PutArguments, TxnArguments};
use command::{Answer, DONE, Failure, USAGE};

const EXIT_STATUS: &str = "\
Exit status:
  0  done, and all that was checked holds
  1  the operation failed, or what was checked does not hold
  2  the arguments cannot be used; nothing was done";

/// Works with Plimsoll databases, which are replicated and strictly serializable.
#[derive(Parser)]
#[command(name = "plimsoll", version, after_help = EXIT_STATUS)]
struct Arguments {
    /// Print the result as one JSON object in place of text. Messages go to standard error either way.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the certificates by which the nodes and clients of a cluster know each other.
    Certs(CertsArguments),
    Serve(ServeArguments),
    Get(GetArguments),
    Put(PutArguments),
    Delete(DeleteArguments),
    Scan(ScanArguments),
    Watch(WatchArguments),
    Txn(TxnArguments),
    TxnStatus(TxnStatusArguments),
    Resolve(ResolveArguments),
    Status(StatusArguments),
    Member(MemberArguments),
    /// Put a database under load, measure it, and check at the end that it kept its word.
    Bench(BenchArguments),
    /// Print a script that completes the arguments of this program in a shell.
    Completions(CompletionsArguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Asking for help or the version is no mistake. That printing fails changes nothing: there is no one to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    let tell = |answer: Result<Answer, Failure>| answer?.tell(arguments.json);
    let result = match &arguments.command {
        Command::Certs(certs) => tell(command::certs::run(certs)),
        Command::Serve(serve) => command::serve::run(serve),
        Command::Get(get) => tell(ask::run(get)),
        Command::Put(put) => tell(ask::run(put)),
        Command::Delete(delete) => tell(ask::run(delete)),
        Command::Scan(scan) => tell(ask::run(scan)),
        Command::Watch(watch) => command::watch::run(watch, arguments.json),
        Command::Txn(txn) => tell(ask::run(txn)),
        Command::TxnStatus(status) => tell(ask::run(status)),
        Command::Resolve(resolve) => tell(ask::run(resolve)),
        Command::Status(status) => tell(ask::run(status)),
        Command::Member(member) => tell(ask::run(member)),
        Command::Bench(bench) => command::bench::run(bench, arguments.json),
        Command::Completions(completions) => command::completions::run(completions, &mut Arguments::command()),
    };
    ExitCode::from(command::conclude(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
    /// Every command and every flag stands on the page that tells of them.
    #[test]
    fn the_page_about_the_command_line_leaves_nothing_out() {
        fn missing(command: &clap::Command, page: &str, found: &mut Vec<String>) {
            let flags = command.get_arguments().filter_map(|argument| argument.get_long());
            let flags = flags.map(|flag| format!("--{flag}"));
            let names = command.get_subcommands().map(|other| other.get_name().to_owned());
            found.extend(flags.chain(names).filter(|word| !page.contains(word)));
            for other in command.get_subcommands() {
                missing(other, page, found);
            }
        }
        let page = include_str!("../../docs/command-line.md");
        let mut found = Vec::new();
        missing(&Arguments::command(), page, &mut found);
        assert!(found.is_empty(), "docs/command-line.md says nothing of {found:?}");
    }
}
