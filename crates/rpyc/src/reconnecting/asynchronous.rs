//! The client of programs with a runtime.

use std::sync::Arc;
use std::time::Duration;

use ::tokio::time::timeout;

use super::current::{Current, Step, User};
use super::{ReconnectEvent, options};
use crate::connect::Connector;
use crate::error::ReconnectError;
use crate::netref::Netref;
use crate::tokio::AsyncConnection;

/// A [`ReconnectingClient`](crate::ReconnectingClient) whose connections a tokio runtime drives, with the same
/// options, events and errors. Clones are the same client.
///
/// Any task may use it; only one connects, and the others wait for it. If the one that connects is dropped,
/// the next one begins anew.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = rpyc::AsyncServer::bind("127.0.0.1:0", |_| rpyc::function(|x: i64| 2 * x)).await?;
/// # let address = server.address().to_string();
/// # let serving = tokio::spawn(server.clone().serve());
/// let connector = rpyc::Connector::new(&address)?;
/// let client = rpyc::AsyncReconnectingClient::new(connector).attempts(5);
/// let double = client.root().await?;
/// assert_eq!(double.call_async((21,)).await?.extract::<i64>()?, 42);
/// client.connection().await?.close();
/// // Over a new connection:
/// assert_eq!(client.root().await?.call_async((1,)).await?.extract::<i64>()?, 2);
/// // What belongs to the old one says so.
/// let error = double.call_async((1,)).await.unwrap_err();
/// assert!(error.to_string().ends_with("get it again from the client's root"));
/// client.close();
/// # server.stop();
/// # serving.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncReconnectingClient(Arc<Current<AsyncConnection>>);

impl AsyncReconnectingClient {
    options!(AsyncConnection);

    /// A live connection: the current one, or a new one.
    ///
    /// # Errors
    /// See [`ReconnectError`].
    pub async fn connection(&self) -> Result<AsyncConnection, ReconnectError> {
        let current = &*self.0;
        let visit = current.visit(User::Task);
        let mut turn = match current.changed.find(|| current.step(&visit)).await {
            Step::Done(outcome) => return outcome,
            Step::Connect(turn) => turn,
        };
        loop {
            turn.next_attempt()?;
            match current.connector.connect_async().await {
                Ok(connection) => return turn.connected(connection),
                Err(error) => {
                    let closed = current.changed.find(|| current.is_closed().then_some(()));
                    let _ = timeout(turn.failed(error)?, closed).await;
                }
            }
        }
    }

    /// The peer's root object, over a live connection.
    ///
    /// # Errors
    /// See [`ReconnectError`].
    pub async fn root(&self) -> Result<Netref, ReconnectError> {
        match self.connection().await?.root_async().await {
            // Lost just now; nothing was asked for yet.
            Err(crate::Error::ConnectionLost(_)) => {
                Ok(self.connection().await?.root_async().await?)
            }
            other => Ok(other?),
        }
    }
}
