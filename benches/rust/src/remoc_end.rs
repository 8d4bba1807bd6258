//! remoc: the client of a remote trait is sent to the peer over a multiplexed connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use remoc::prelude::*;
use remoc::rtc::{CallError, Client as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::measure::{BULK, Caller, OUTSTANDING};

const VERSION: &str = "remoc 0.18";

#[rtc::remote]
trait Bench {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError>;
    async fn push(&self, data: Bytes) -> Result<u64, CallError>;
    async fn echo(&self, data: Bytes) -> Result<Bytes, CallError>;
}

struct Object;

impl Bench for Object {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError> {
        Ok(a + b)
    }

    async fn push(&self, data: Bytes) -> Result<u64, CallError> {
        Ok(data.len() as u64)
    }

    async fn echo(&self, data: Bytes) -> Result<Bytes, CallError> {
        Ok(data)
    }
}

/// Serves until the process ends.
pub(crate) async fn serve() -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    crate::announce(&listener.local_addr()?, VERSION);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let (read, write) = stream.into_split();
            let (server, mut client) =
                BenchServerShared::<_, remoc::codec::Default>::new(Arc::new(Object), OUTSTANDING);
            client.set_max_request_size(2 * BULK);
            client.set_max_reply_size(2 * BULK);
            let connected = remoc::Connect::io(config(), read, write)
                .provide(client)
                .await;
            match connected {
                // The end of a connection is told as an error, too.
                Ok(()) => drop(server.serve(true).await),
                Err(error) => eprintln!("remoc server: {error}"),
            }
        });
    }
}

/// A client of the remote object.
pub(crate) struct Client(BenchClient);

impl Caller for Client {
    const VERSION: &'static str = VERSION;

    async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut client: BenchClient = remoc::Connect::io(config(), read, write).consume().await?;
        client.set_max_request_size(2 * BULK);
        client.set_max_reply_size(2 * BULK);
        Ok(Self(client))
    }

    async fn add(&self, a: i64, b: i64) -> Outcome<i64> {
        Ok(self.0.add(a, b).await?)
    }

    async fn add_many(&self, count: usize) -> Outcome<i64> {
        let calls = (0..count).map(|_| self.0.add(1, 2));
        Ok(try_join_all(calls).await?.into_iter().sum())
    }

    async fn push(&self, data: &Bytes) -> Outcome<u64> {
        Ok(self.0.push(data.clone()).await?)
    }

    async fn echo(&self, data: &Bytes) -> Outcome<u64> {
        Ok(self.0.echo(data.clone()).await?.len() as u64)
    }
}

/// Its settings for bulk. By default it waits 20 ms for more to send before it sends, which would be all that a
/// measurement shows; none at all is still a millisecond of the clock of tokio.
fn config() -> remoc::Cfg {
    let mut config = remoc::Cfg::throughput();
    config.flush_delay = Duration::ZERO;
    config
}
