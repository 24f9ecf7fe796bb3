//! The program `smidgen`.

fn main() -> std::process::ExitCode {
    smidgen_cli::main()
}
