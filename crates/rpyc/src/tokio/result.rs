//! Awaiting answers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::pending::AsyncResult;
use crate::value::Value;

/// The answer, for as long as the configuration says, counted from when the request was sent.
///
/// On a connection that threads drive, a thread must serve it meanwhile.
impl Future for AsyncResult {
    type Output = Result<Value>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Value>> {
        let this = self.get_mut();
        if let Some(outcome) = this.poll_slot(context.waker()) {
            return Poll::Ready(outcome);
        }
        if let Some(deadline) = this.patience().deadline
            && ::tokio::runtime::Handle::try_current().is_ok()
        {
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(::tokio::time::sleep_until(deadline.into())));
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(this.give_up()));
            }
        }
        Poll::Pending
    }
}
