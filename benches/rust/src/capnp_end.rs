//! capnp-rpc: interfaces of a schema; messages are read in place.

use bytes::Bytes;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::AsyncReadExt;
use futures::future::try_join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::Outcome;
use crate::bench_capnp::bench;
use crate::measure::Caller;

const VERSION: &str = "capnp-rpc 0.27";

struct Server;

impl bench::Server for Server {
    async fn add(
        self: std::rc::Rc<Self>,
        params: bench::AddParams,
        mut results: bench::AddResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        results.get().set_sum(params.get_a() + params.get_b());
        Ok(())
    }

    async fn push(
        self: std::rc::Rc<Self>,
        params: bench::PushParams,
        mut results: bench::PushResults,
    ) -> Result<(), capnp::Error> {
        let length = params.get()?.get_data()?.len();
        results.get().set_length(length as u64);
        Ok(())
    }

    async fn echo(
        self: std::rc::Rc<Self>,
        params: bench::EchoParams,
        mut results: bench::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }
}

/// Serves until the process ends.
pub(crate) async fn serve() -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    crate::announce(&listener.local_addr()?, VERSION);
    loop {
        let (stream, _) = listener.accept().await?;
        let object: bench::Client = capnp_rpc::new_client(Server);
        let network = network(stream, Side::Server)?;
        tokio::task::spawn_local(RpcSystem::new(Box::new(network), Some(object.client)));
    }
}

/// A capability of the server.
pub(crate) struct Client(bench::Client);

impl Caller for Client {
    const VERSION: &'static str = VERSION;

    async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        let mut system = RpcSystem::new(Box::new(network(stream, Side::Client)?), None);
        let client = system.bootstrap(Side::Server);
        tokio::task::spawn_local(system);
        Ok(Self(client))
    }

    async fn add(&self, a: i64, b: i64) -> Outcome<i64> {
        Ok(self.request(a, b).await?)
    }

    async fn add_many(&self, count: usize) -> Outcome<i64> {
        let calls = (0..count).map(|_| self.request(1, 2));
        Ok(try_join_all(calls).await?.into_iter().sum())
    }

    async fn push(&self, data: &Bytes) -> Outcome<u64> {
        let mut request = self.0.push_request();
        request.get().set_data(data);
        Ok(request.send().promise.await?.get()?.get_length())
    }

    async fn echo(&self, data: &Bytes) -> Outcome<u64> {
        let mut request = self.0.echo_request();
        request.get().set_data(data);
        let response = request.send().promise.await?;
        Ok(response.get()?.get_data()?.len() as u64)
    }
}

impl Client {
    async fn request(&self, a: i64, b: i64) -> Result<i64, capnp::Error> {
        let mut request = self.0.add_request();
        request.get().set_a(a);
        request.get().set_b(b);
        Ok(request.send().promise.await?.get()?.get_sum())
    }
}

type Network = twoparty::VatNetwork<
    futures::io::BufReader<futures::io::ReadHalf<tokio_util::compat::Compat<TcpStream>>>,
>;

/// One end of a connection, buffered as capnp-rpc's examples do it.
fn network(stream: TcpStream, side: Side) -> std::io::Result<Network> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.compat().split();
    Ok(twoparty::VatNetwork::new(
        futures::io::BufReader::new(reader),
        futures::io::BufWriter::new(writer),
        side,
        capnp::message::ReaderOptions::new(),
    ))
}
