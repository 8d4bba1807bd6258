//! The command `rpyc`: look at RPyC servers, call them, measure them, be one. It needs no Python.
//!
//! Errors are one line on standard error, and a number: see [`failure::Failure`].

mod arguments;
mod commands;
mod expression;
mod failure;
mod logger;
mod output;
mod shell;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logger::install(arguments.verbose);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(arguments.traceback);
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Ping(ping) => commands::ping::run(ping, arguments.json),
        Command::Info(info) => commands::info::run(info, arguments.json),
        Command::Dir(dir) => commands::dir::run(dir, arguments.json),
        Command::Call(call) => commands::call::run(call, arguments.json),
        Command::Get(get) => commands::get::run(get, arguments.json),
        Command::Eval(eval) => commands::eval::run(eval, arguments.json),
        Command::Shell(shell) => shell::run(shell),
        Command::Bench(bench) => commands::bench::run(bench, arguments.json),
        Command::ServeDemo(serve) => commands::serve_demo::run(serve, arguments.json),
        Command::Registry(registry) => commands::registry::run(registry, arguments.json),
        Command::List(list) => commands::list::run(list, arguments.json),
    }
}
