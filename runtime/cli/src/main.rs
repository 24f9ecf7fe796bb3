//! The command `smidgen`: results go to stdout, progress and errors to stderr, and the exit code is not zero after an error.

mod args;
mod bench;
mod inspect;
mod open;
mod perplexity;
mod progress;
mod run;
mod tokenize;

use args::{Cli, Command};
use clap::{CommandFactory, Parser, error::ErrorKind};
use std::io::{self, Write};
use std::process::ExitCode;

/// What a command ends with; an error is printed on one line.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match cli.command {
        Command::Run(args) => return ended(run::run(&args)),
        Command::Bench(args) => bench::bench(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
        Command::Perplexity(args) => perplexity::perplexity(&args),
        Command::Pull(args) => pull(&args),
        Command::Completions { shell } => completions(shell),
    };
    ended(outcome.map(|()| ExitCode::SUCCESS))
}

/// The exit code; an error is told.
fn ended(outcome: Result<ExitCode, Box<dyn std::error::Error>>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Whoever reads our output has gone; there is nobody to tell.
            let gone = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
            if !gone {
                eprintln!("smidgen: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Help and the version as they are; a mistake on one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{error}");
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let mistake = text.split("\nUsage:").next().unwrap_or(&text).replace("For more information, try '--help'.", "");
    let line = mistake.split_whitespace().collect::<Vec<_>>().join(" ");
    eprintln!("smidgen: {}; 'smidgen --help' shows the usage", line.trim_start_matches("error: "));
    ExitCode::from(2)
}

fn pull(args: &args::PullArgs) -> Outcome {
    let mut out = io::stdout().lock();
    if args.model.is_empty() {
        for model in smidgen_host::KNOWN_MODELS {
            let place =
                smidgen_host::find(model.name).map_or_else(|| "not pulled".into(), |path| path.display().to_string());
            writeln!(out, "{}\t{}\t{}\t{place}", model.name, model.file, model.licence)?;
        }
        return Ok(());
    }
    for model in &args.model {
        let path = smidgen_host::pull(model, &mut progress::PullBar::new())?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "smidgen", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}
