//! Going through remote iterables.

use rpyc_proto::consts::Handler;

use super::Netref;
use crate::convert::FromValue;
use crate::error::{Error, Result};
use crate::value::Value;

/// How many items one request fetches.
const CHUNK: i64 = 64;

impl Netref {
    /// The items, one request each, as Python's `for` does: the iterator is never ahead.
    ///
    /// # Errors
    /// See [`Error`]; `TypeError` if the object is not iterable.
    pub fn iter(&self) -> Result<NetrefIter> {
        let iterator = self.call_method("__iter__", ())?.extract()?;
        Ok(NetrefIter {
            iterator,
            chunk: 1,
            fetched: Vec::new().into_iter(),
            over: false,
        })
    }

    /// All items. Many are fetched with one request, so an endless iterator must not be asked.
    ///
    /// # Errors
    /// As [`iter`](Self::iter).
    pub fn items<T: FromValue>(&self) -> Result<Vec<T>> {
        let items = self.iter()?.chunked(CHUNK);
        items.map(|item| Ok(item?.extract()?)).collect()
    }
}

/// An iterator over the items of a remote iterable. After an error it is over.
#[derive(Debug)]
pub struct NetrefIter {
    iterator: Netref,
    chunk: i64,
    fetched: std::vec::IntoIter<Value>,
    over: bool,
}

impl NetrefIter {
    /// Fetches up to `count` items with one request. The remote iterator is then ahead of this one.
    #[must_use]
    pub const fn chunked(mut self, count: i64) -> Self {
        self.chunk = if count < 1 { 1 } else { count };
        self
    }

    fn fetch(&mut self) -> Result<Option<Value>> {
        if self.chunk == 1 {
            return match self.iterator.call_method("__next__", ()) {
                Ok(item) => Ok(Some(item)),
                Err(Error::Remote(exception)) if exception.is("StopIteration") => Ok(None),
                Err(error) => Err(error),
            };
        }
        let items: Vec<Value> = self.iterator.ask_as(Handler::BufIter, (self.chunk,))?;
        self.fetched = items.into_iter();
        Ok(self.fetched.next())
    }
}

impl Iterator for NetrefIter {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(item) = self.fetched.next() {
            return Some(Ok(item));
        }
        if self.over {
            return None;
        }
        let item = self.fetch().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}
