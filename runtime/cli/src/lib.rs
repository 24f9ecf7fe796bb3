//! The command `smidgen`: results go to stdout, progress and errors to stderr, and the exit code is not zero after an error.
//!
//! A library apart from the program, so that it can be compiled for size and the program, with all kernels in it, for speed.

mod args;
mod bench;
#[cfg(feature = "encoders")]
mod classify;
#[cfg(feature = "convert")]
mod convert;
#[cfg(feature = "encoders")]
mod embed;
#[cfg(feature = "micro")]
mod infer;
mod inspect;
#[cfg(feature = "micro")]
mod listen;
mod logits;
#[cfg_attr(
    not(feature = "micro"),
    allow(dead_code, reason = "micro models read arrays, everything else only writes them")
)]
mod npy;
mod open;
mod perplexity;
mod progress;
mod pull;
mod run;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "hub")]
mod shelf;
mod signals;
mod tokenize;

use args::{Cli, Command};
use clap::{CommandFactory, Parser, error::ErrorKind};
use std::io::{self, Write};
use std::process::ExitCode;

/// The commands that this build leaves out, and the feature that has each.
const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "completions"))]
    ("completions", "completions"),
    #[cfg(not(feature = "convert"))]
    ("convert", "convert"),
    #[cfg(not(feature = "convert"))]
    ("quantize", "convert"),
    #[cfg(not(feature = "convert"))]
    ("pack", "convert"),
    #[cfg(not(feature = "convert"))]
    ("unpack", "convert"),
    #[cfg(not(feature = "encoders"))]
    ("embed", "encoders"),
    #[cfg(not(feature = "encoders"))]
    ("classify", "encoders"),
    #[cfg(not(feature = "hub"))]
    ("list", "hub"),
    #[cfg(not(feature = "hub"))]
    ("show", "hub"),
    #[cfg(not(feature = "hub"))]
    ("remove", "hub"),
    #[cfg(not(feature = "hub"))]
    ("prune", "hub"),
    #[cfg(not(feature = "hub"))]
    ("import", "hub"),
    #[cfg(not(feature = "hub"))]
    ("verify", "hub"),
    #[cfg(not(feature = "micro"))]
    ("listen", "micro"),
    #[cfg(not(feature = "micro"))]
    ("infer", "micro"),
    #[cfg(not(feature = "serve"))]
    ("serve", "serve"),
];

/// The result of a command; its error is printed as one line.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs the command that the process's arguments name. Sets the hook for panics, which ends the process with the code 101.
pub fn main() -> ExitCode {
    // A panic is a bug of ours: it is printed, and ends the process with a code of its own, on whatever thread it happens.
    std::panic::set_hook(Box::new(|panic| {
        tell(format_args!("smidgen: internal error: {panic}\n"));
        std::process::exit(101);
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    #[cfg(feature = "hub")]
    open::set_offline(cli.offline);
    if let Err(error) = signals::catch() {
        tell(format_args!("smidgen: signals cannot be caught: {error}\n"));
        return ExitCode::FAILURE;
    }
    let outcome = match cli.command {
        Command::Run(args) => return ended(run::run(&args)),
        Command::Bench(args) => bench::bench(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
        Command::Logits(args) => logits::logits(&args),
        Command::Perplexity(args) => perplexity::perplexity(&args),
        #[cfg(feature = "encoders")]
        Command::Embed(args) => return ended(embed::embed(&args)),
        #[cfg(feature = "encoders")]
        Command::Classify(args) => return ended(classify::classify(&args)),
        #[cfg(feature = "micro")]
        Command::Listen(args) => listen::listen(&args),
        #[cfg(feature = "micro")]
        Command::Infer(args) => infer::infer(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(&args),
        Command::Pull(args) => pull::pull(&args),
        #[cfg(feature = "hub")]
        Command::List(args) => shelf::list(&args),
        #[cfg(feature = "hub")]
        Command::Show(args) => shelf::show(&args),
        #[cfg(feature = "hub")]
        Command::Remove(args) => shelf::remove(&args),
        #[cfg(feature = "hub")]
        Command::Prune(args) => shelf::prune(&args),
        #[cfg(feature = "hub")]
        Command::Import(args) => shelf::import(&args),
        #[cfg(feature = "hub")]
        Command::Verify(args) => shelf::verify(&args),
        #[cfg(feature = "convert")]
        Command::Convert(args) => convert::convert(&args),
        #[cfg(feature = "convert")]
        Command::Quantize(args) => convert::quantize(&args),
        #[cfg(feature = "convert")]
        Command::Pack(args) => convert::pack(&args, smidgen_host::Direction::Pack),
        #[cfg(feature = "convert")]
        Command::Unpack(args) => convert::pack(&args, smidgen_host::Direction::Unpack),
        #[cfg(feature = "completions")]
        Command::Completions { shell } => completions(shell),
    };
    ended(outcome.map(|()| ExitCode::SUCCESS))
}

/// The exit code; an error is printed.
fn ended(outcome: Result<ExitCode, Box<dyn std::error::Error>>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            match error.downcast_ref::<io::Error>() {
                // Whoever read our output has gone; there is nobody to tell.
                Some(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                // Only writing results fails without the name of a file.
                Some(error) => tell(format_args!("smidgen: stdout: {error}\n")),
                None => tell(format_args!("smidgen: {error}\n")),
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr. A failure to write is ignored, as the exit code tells of the error too.
fn tell(text: std::fmt::Arguments) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Prints help and the version as they are, and a mistake of usage on one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ended(error.print().map(|()| ExitCode::SUCCESS).map_err(Into::into));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        tell(format_args!("{error}"));
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let mistake = text.split("\nUsage:").next().unwrap_or(&text).replace("For more information, try '--help'.", "");
    // Paragraphs are the mistake and tips; the tip about values that look like flags leads astray.
    let paragraphs = mistake.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let told: Vec<_> = paragraphs
        .map(|part| part.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned())
        .filter(|part| !part.is_empty() && !part.starts_with("to pass '"))
        .collect();
    let left_out = std::env::args_os().nth(1).and_then(|name| LEFT_OUT.iter().find(|(command, _)| name == *command));
    if let Some((command, feature)) = left_out {
        tell(format_args!("smidgen: this build has no command '{command}'; build it with the feature '{feature}'\n"));
        return ExitCode::from(2);
    }
    let command = std::env::args_os().nth(1).and_then(|name| name.into_string().ok());
    let command = command.filter(|name| Cli::command().find_subcommand(name).is_some());
    let command = command.map(|name| format!(" {name}")).unwrap_or_default();
    tell(format_args!("smidgen: {}; 'smidgen{command} --help' shows the usage\n", told.join("; ")));
    ExitCode::from(2)
}

#[cfg(feature = "completions")]
fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "smidgen", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}
