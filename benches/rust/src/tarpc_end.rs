//! tarpc: a trait becomes a service; bincode over frames with a length.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::try_join_all;
use tarpc::client::Config;
use tarpc::context;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::Outcome;
use crate::measure::{BULK, Caller};

const VERSION: &str = "tarpc 0.38";

#[tarpc::service]
trait Bench {
    async fn add(a: i64, b: i64) -> i64;
    async fn push(data: Bytes) -> u64;
    async fn echo(data: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Bench for Server {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a + b
    }

    async fn push(self, _: context::Context, data: Bytes) -> u64 {
        data.len() as u64
    }

    async fn echo(self, _: context::Context, data: Bytes) -> Bytes {
        data
    }
}

/// Serves until the process ends.
pub(crate) async fn serve() -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    crate::announce(&listener.local_addr()?, VERSION);
    loop {
        let (stream, _) = listener.accept().await?;
        let transport = tarpc::serde_transport::new(framed(stream)?, Bincode::default());
        tokio::spawn(
            BaseChannel::with_defaults(transport)
                .execute(Server.serve())
                .for_each(|response| async {
                    tokio::spawn(response);
                }),
        );
    }
}

/// A stub, and the task behind it.
pub(crate) struct Client(BenchClient);

impl Caller for Client {
    const VERSION: &'static str = VERSION;

    async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        let transport = tarpc::serde_transport::new(framed(stream)?, Bincode::default());
        Ok(Self(BenchClient::new(Config::default(), transport).spawn()))
    }

    async fn add(&self, a: i64, b: i64) -> Outcome<i64> {
        Ok(self.0.add(context::current(), a, b).await?)
    }

    async fn add_many(&self, count: usize) -> Outcome<i64> {
        let calls = (0..count).map(|_| self.0.add(context::current(), 1, 2));
        Ok(try_join_all(calls).await?.into_iter().sum())
    }

    async fn push(&self, data: &Bytes) -> Outcome<u64> {
        Ok(self.0.push(context::current(), data.clone()).await?)
    }

    async fn echo(&self, data: &Bytes) -> Outcome<u64> {
        let back = self.0.echo(context::current(), data.clone()).await?;
        Ok(back.len() as u64)
    }
}

/// Frames that hold the large payload.
fn framed(stream: TcpStream) -> std::io::Result<Framed<TcpStream, LengthDelimitedCodec>> {
    stream.set_nodelay(true)?;
    Ok(LengthDelimitedCodec::builder()
        .max_frame_length(2 * BULK)
        .new_framed(stream))
}
