//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rpyc::{Address, Config, Connection, Connector, TlsClient, TokenAuthenticator};

use crate::failure::Failure;

/// Look at RPyC servers, call them, measure them, be one.
///
/// Exit codes: 0 success, 1 the other side raised an exception, 2 wrong usage, 3 no connection,
/// 4 no answer in time, 5 connection lost, 6 unexpected answer, 7 trouble on this side (files, ports).
#[derive(Debug, Parser)]
#[command(name = "rpyc", version)]
pub(crate) struct Arguments {
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show the traceback of remote exceptions on standard error.
    #[arg(long, global = true)]
    pub(crate) traceback: bool,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask a server for signs of life.
    Ping(Ping),
    /// Tell what a server is and offers.
    Info(Info),
    /// List the attributes of a remote object.
    Dir(Dir),
    /// Call a remote function or method.
    Call(Call),
    /// Print the value of an expression such as root.items[0].name.
    Get(Get),
    /// Evaluate Python in a classic server.
    Eval(Eval),
    /// Work with a server line by line.
    Shell(Shell),
    /// Measure how quickly a server answers.
    Bench(Bench),
    /// Serve something to try things out with.
    ServeDemo(ServeDemo),
    /// Be a registry.
    Registry(Registry),
    /// Ask a registry which services there are, or where one is.
    List(List),
}

/// How to get to a server.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// host:port, ssl://host:port or unix:/path.
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Address,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
    /// Seconds to wait for a connection, handshakes included.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    connect_timeout: f64,
    /// The file with the token that both sides know.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name that the token goes with.
    #[arg(long, value_name = "NAME", requires = "token_file")]
    token_name: Option<String>,
    /// TLS: trust the authorities in this file (PEM), instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// TLS: show this certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// TLS: the key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// TLS: the name in the server's certificate, if it is not the host's.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// TLS: take any server for the right one. Anybody on the way can read and change what is said.
    #[arg(long)]
    insecure: bool,
}

impl Target {
    /// Connects.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        Ok(self.connector()?.connect()?)
    }

    pub(crate) fn connector(&self) -> Result<Connector, Failure> {
        let config = Config::default()
            .timeout(Duration::from_secs_f64(self.timeout))
            .connect_timeout(Duration::from_secs_f64(self.connect_timeout));
        let mut connector = Connector::to(self.address.clone())
            .config(config)
            .tls(self.tls());
        if let Some(path) = &self.token_file {
            let name = self.token_name.as_deref().unwrap_or_default();
            let token = TokenAuthenticator::from_file(path).and_then(|token| token.name(name));
            let token = token.map_err(|error| Failure::local("the token", error))?;
            connector = connector.authenticator(token);
        }
        Ok(connector)
    }

    fn tls(&self) -> TlsClient {
        let mut tls = TlsClient::new();
        if let Some(path) = &self.ca_file {
            tls = tls.ca_file(path);
        }
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            tls = tls.certificate(certificate, key);
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        if self.insecure {
            tls = tls.insecure_accept_any_server();
        }
        tls
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How often.
    #[arg(short, long, default_value_t = 1)]
    pub(crate) count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Dir {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The object, such as root or root.items[0].
    #[arg(default_value = "root")]
    pub(crate) object: String,
    /// Also names that begin with an underscore.
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) target: Target,
    /// What to call, such as root.add.
    pub(crate) function: String,
    /// Arguments: Python literals; what is none is text.
    #[arg(allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
    /// Keyword arguments.
    #[arg(short, long = "kwarg", value_name = "NAME=VALUE")]
    pub(crate) keywords: Vec<String>,
    /// Take all arguments as text.
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The expression, such as root.items[0].name.
    pub(crate) expression: String,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) target: Target,
    /// A Python expression.
    pub(crate) expression: String,
}

#[derive(Debug, Args)]
pub(crate) struct Shell {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Where lines are kept; ~/.rpyc_history by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) target: Target,
    /// What to call; pings by default.
    pub(crate) function: Option<String>,
    /// Its arguments, as for call.
    #[arg(allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
    /// For how many seconds.
    #[arg(short, long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Connections, each with a thread.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: u32,
    /// Calls that each connection has outstanding.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) outstanding: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ServeDemo {
    /// host:port, ssl://host:port or unix:/path; port 0 for any that is free.
    #[arg(default_value = "localhost:18861")]
    pub(crate) address: Address,
    /// Serve all connections with this many threads, instead of one for each.
    #[arg(long, value_name = "THREADS")]
    pub(crate) pool: Option<usize>,
    /// Serve one connection, and that is all.
    #[arg(long, conflicts_with = "pool")]
    pub(crate) one_shot: bool,
    /// How many connections there may be at once.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) max_connections: usize,
    /// The file with the token that clients must know.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// TLS: the server's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// TLS: the key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// TLS: let only clients in with a certificate of an authority in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Register as DEMO at this registry, udp://host:port or tcp://host:port.
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) register: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Registry {
    /// host:port; port 0 for any that is free.
    #[arg(default_value = "0.0.0.0:18811")]
    pub(crate) address: String,
    /// Over TCP instead of UDP.
    #[arg(long)]
    pub(crate) tcp: bool,
    /// Seconds after which servers that don't register again are forgotten.
    #[arg(long, default_value_t = 240.0, value_parser = seconds)]
    pub(crate) prune_after: f64,
    /// Don't tell which services there are.
    #[arg(long)]
    pub(crate) no_listing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Where servers of this service are; without it, the names of all services.
    pub(crate) service: Option<String>,
    /// The registry: udp://host:port or tcp://host:port.
    #[arg(long, default_value = "udp://255.255.255.255:18811")]
    pub(crate) registry: String,
    /// Only services that have a server on this host.
    #[arg(long, conflicts_with = "service")]
    pub(crate) host: Option<String>,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) timeout: f64,
}

/// A number of seconds that a `Duration` can hold.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(seconds),
        _ => Err("expected a number of seconds greater than 0".to_owned()),
    }
}
