//! Many calls at once, awaited: asynchronous methods served and called under tokio.
//!
//! ```sh
//! cargo run -p rpyc --features tokio --example async_calls
//! ```
#![expect(clippy::print_stdout, reason = "an example says what happens")]

use std::time::Duration;

use rpyc::{AsyncConnection, AsyncServer, Netref};

struct Kitchen;

#[rpyc::service]
impl Kitchen {
    /// Takes its time; others are served meanwhile.
    #[rpyc(exposed)]
    async fn cook(&self, dish: String, minutes: u64) -> String {
        tokio::time::sleep(Duration::from_millis(minutes)).await;
        format!("{dish} is ready")
    }

    /// Calls back, without blocking.
    #[rpyc(exposed)]
    async fn tell(&self, guest: Netref) -> rpyc::Result<String> {
        Ok(guest.call_async(("dinner!",)).await?.extract()?)
    }
}

#[rpyc::proxy]
trait KitchenClient {
    async fn cook(&self, dish: &str, minutes: u64) -> rpyc::Result<String>;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = AsyncServer::bind("127.0.0.1:0", |_| Kitchen).await?;
    let address = server.address().to_string();
    let serving = tokio::spawn(server.clone().serve());

    let conn = AsyncConnection::connect(&address).await?;
    let kitchen = KitchenClientProxy::from(conn.root_async().await?);

    // Started together, they take as long as the longest.
    let (soup, bread) = tokio::try_join!(kitchen.cook("soup", 30), kitchen.cook("bread", 10))?;
    println!("{soup}, {bread}");

    // A future that is dropped gives its answer up; the connection goes on.
    let patience = Duration::from_millis(5);
    match tokio::time::timeout(patience, kitchen.cook("roast", 10_000)).await {
        Err(_) => println!("the roast takes too long"),
        Ok(roast) => println!("{}, which is a surprise", roast?),
    }

    let guest = rpyc::function(|text: String| format!("heard {text}"));
    let netref: &Netref = kitchen.as_ref();
    let heard: String = netref
        .call_method_async("tell", (guest,))
        .await?
        .extract()?;
    println!("{heard}");
    conn.close();

    // Calls that are still running would be answered first.
    server.drain(Duration::from_secs(5)).await;
    serving.await??;
    Ok(())
}
