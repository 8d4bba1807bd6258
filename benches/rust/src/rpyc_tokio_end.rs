//! The crate `rpyc`, driven by tokio.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use rpyc::{AsyncConnection, AsyncServer, Value};

use crate::Outcome;
use crate::measure::Caller;
use crate::rpyc_end::Bench;

const VERSION: &str = "rpyc (Rust, tokio)";

/// Serves until the process ends.
pub(crate) async fn serve() -> Outcome {
    let bench = Arc::new(Bench);
    let server = AsyncServer::bind("127.0.0.1:0", move |_| bench.clone()).await?;
    crate::announce(server.address(), VERSION);
    server.serve().await?;
    Ok(())
}

/// The remote functions, held.
pub(crate) struct Client {
    add: Value,
    push: Value,
    echo: Value,
}

impl Caller for Client {
    const VERSION: &'static str = VERSION;

    async fn connect(address: &str) -> Outcome<Self> {
        let root = AsyncConnection::connect(address)
            .await?
            .root_async()
            .await?;
        Ok(Self {
            add: root.attr_async("add").await?,
            push: root.attr_async("push").await?,
            echo: root.attr_async("echo").await?,
        })
    }

    async fn add(&self, a: i64, b: i64) -> Outcome<i64> {
        Ok(self.add.call_async((a, b))?.await?.extract()?)
    }

    async fn add_many(&self, count: usize) -> Outcome<i64> {
        let calls: Vec<_> = (0..count)
            .map(|_| self.add.call_async((1, 2)))
            .collect::<Result<_, _>>()?;
        let mut sum = 0;
        for answer in try_join_all(calls).await? {
            sum += answer.extract::<i64>()?;
        }
        Ok(sum)
    }

    async fn push(&self, data: &Bytes) -> Outcome<u64> {
        Ok(self.push.call_async((data.clone(),))?.await?.extract()?)
    }

    async fn echo(&self, data: &Bytes) -> Outcome<u64> {
        let back: Bytes = self.echo.call_async((data.clone(),))?.await?.extract()?;
        Ok(back.len() as u64)
    }
}
