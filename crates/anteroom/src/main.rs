//! The program's start.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    anteroom::main()
}
