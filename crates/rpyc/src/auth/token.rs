//! Both sides show that they know the same secret, without showing it.
//!
//! ```text
//! client -> server   "RPYCTOK1"  length of name (1 byte)  name  client's nonce (32 bytes)
//! server -> client   "RPYCTOK1"  server's nonce (32 bytes)
//! client -> server   proof of the client (32 bytes)
//! server -> client   1, proof of the server (32 bytes)   or   0, and the end of the stream
//!
//! proof = HMAC-SHA256(token, label  length of name  name  client's nonce  server's nonce)
//! label = "rpyc token 1 client" or "rpyc token 1 server", and a zero byte
//! ```
//!
//! (docs/protocol.md, section 19.) The nonces are random, so an overheard proof is worth nothing later,
//! and the labels keep one side's proof from passing for the other's. The client proves itself first:
//! a server says nothing about the token to whoever does not know it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;

use super::line::{Line, at_once};
use super::{Authenticator, ClientAuthenticator};
use crate::opening::Opening;
use crate::server::PeerInfo;

const MAGIC: &[u8; 8] = b"RPYCTOK1";
const SIZE: usize = 32;
const CLIENT: &[u8] = b"rpyc token 1 client\0";
const SERVER: &[u8] = b"rpyc token 1 server\0";
const ADMITTED: u8 = 1;
const REFUSED: u8 = 0;
/// The shortest token, in bytes: who overhears a handshake may try out short ones.
const MIN_TOKEN: usize = 16;
const MAX_NAME: usize = 255;

/// Both sides show that they know the same token, without showing it.
///
/// It hides and protects nothing that follows: over a network that is not trusted, use it inside TLS.
///
/// ```
/// use rpyc::{Connector, Server, TokenAuthenticator};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let token = TokenAuthenticator::make_token()?;
/// let server = Server::builder()
///     .authenticator(TokenAuthenticator::new(&token)?)
///     .bind("127.0.0.1:0")?;
/// let serving = server.serve_in_thread()?;
///
/// let connector = Connector::to(server.address().clone());
/// let conn = connector.authenticator(TokenAuthenticator::new(&token)?).connect()?;
/// conn.ping()?;
/// server.stop();
/// serving.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenAuthenticator {
    name: String,
    tokens: HashMap<String, Vec<u8>>,
}

impl TokenAuthenticator {
    /// For this token; texts are taken as UTF-8.
    ///
    /// # Errors
    /// It has less than 16 bytes, which can be guessed.
    pub fn new(token: impl AsRef<[u8]>) -> io::Result<Self> {
        Self {
            name: String::new(),
            tokens: HashMap::new(),
        }
        .client("", token)
    }

    /// For the token in this file; white space around it does not count.
    ///
    /// # Errors
    /// The file can't be read; as [`new`](Self::new).
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let in_file =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = fs::metadata(path).map_err(in_file)?;
        if file.mode() & 0o077 != 0 {
            log::warn!(
                "the token file {} may be used by others: chmod 600 it",
                path.display()
            );
        }
        let token = fs::read(path).map_err(in_file)?;
        Self::new(token.trim_ascii()).map_err(in_file)
    }

    /// A new random token, as printable text.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn make_token() -> io::Result<String> {
        let hex = |bytes: [u8; SIZE]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        nonce().map(hex)
    }

    /// For a client: introduces itself by this name.
    ///
    /// # Errors
    /// The name has more than 255 bytes.
    pub fn name(mut self, name: &str) -> io::Result<Self> {
        check_name(name)?;
        if let Some(token) = self.tokens.remove(&self.name) {
            self.tokens.insert(name.to_owned(), token);
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// For a server: also lets in the client with this name, if it knows this token.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`name`](Self::name).
    pub fn client(mut self, name: &str, token: impl AsRef<[u8]>) -> io::Result<Self> {
        check_name(name)?;
        let token = token.as_ref();
        if token.len() < MIN_TOKEN {
            return Err(invalid(format!(
                "a token of less than {MIN_TOKEN} bytes can be guessed: use \
                 TokenAuthenticator::make_token()"
            )));
        }
        self.tokens.insert(name.to_owned(), token.to_owned());
        Ok(self)
    }
}

impl Authenticator for TokenAuthenticator {
    fn admit(&self, opening: &mut Opening<'_>, peer: &mut PeerInfo) -> io::Result<()> {
        at_once(self.admit_over(opening, peer))
    }

    fn as_token(&self) -> Option<&TokenAuthenticator> {
        Some(self)
    }
}

impl ClientAuthenticator for TokenAuthenticator {
    fn introduce(&self, opening: &mut Opening<'_>) -> io::Result<()> {
        at_once(self.introduce_over(opening))
    }

    fn as_token(&self) -> Option<&TokenAuthenticator> {
        Some(self)
    }
}

/// The steps, for threads and for tasks.
impl TokenAuthenticator {
    /// A server's part.
    pub(crate) async fn admit_over(
        &self,
        line: &mut impl Line,
        peer: &mut PeerInfo,
    ) -> io::Result<()> {
        if read::<8>(line).await? != *MAGIC {
            return Err(denied("the client does not know the token handshake"));
        }
        let [length] = read::<1>(line).await?;
        let mut name = vec![0; usize::from(length)];
        line.receive(&mut name).await?;
        let client: [u8; SIZE] = read(line).await?;
        let server = nonce()?;
        line.send(&[&MAGIC[..], &server].concat()).await?;
        let said: [u8; SIZE] = read(line).await?;
        // For a name that is not known all goes the same way, with a token that nobody has.
        let text = String::from_utf8_lossy(&name);
        let known = self.tokens.get(&*text);
        let token = known.map_or_else(|| nonce().map(Vec::from), |token| Ok(token.clone()))?;
        let proven = proof(&token, CLIENT, &name, &client, &server).verify_slice(&said);
        if proven.is_err() || known.is_none() {
            line.send(&[REFUSED]).await?;
            return Err(denied(&format!(
                "the client that calls itself {text:?} has another token"
            )));
        }
        let ours = proof(&token, SERVER, &name, &client, &server).finalize();
        line.send(&[&[ADMITTED], &ours.into_bytes()[..]].concat())
            .await?;
        peer.set_identity(text);
        Ok(())
    }

    /// A client's part.
    pub(crate) async fn introduce_over(&self, line: &mut impl Line) -> io::Result<()> {
        let Some(token) = self.tokens.get(&self.name) else {
            return Err(invalid(format!("there is no token for {:?}", self.name)));
        };
        let name = self.name.as_bytes();
        let client = nonce()?;
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        line.send(&[&MAGIC[..], &[length], name, &client].concat())
            .await?;
        if read::<8>(line).await? != *MAGIC {
            return Err(denied("the server does not know the token handshake"));
        }
        let server: [u8; SIZE] = read(line).await?;
        let ours = proof(token, CLIENT, name, &client, &server).finalize();
        line.send(&ours.into_bytes()).await?;
        if read::<1>(line).await? != [ADMITTED] {
            return Err(denied("the server refuses the token"));
        }
        let said: [u8; SIZE] = read(line).await?;
        proof(token, SERVER, name, &client, &server)
            .verify_slice(&said)
            .map_err(|_| denied("the server does not know the token: it is another one"))
    }
}

/// The tokens are nobody's business.
impl fmt::Debug for TokenAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<TokenAuthenticator for {:?}>", self.tokens.keys())
    }
}

fn proof(token: &[u8], label: &[u8], name: &[u8], client: &[u8], server: &[u8]) -> Hmac<Sha256> {
    // Longer keys are hashed, shorter ones padded.
    let Ok(mut proof) = Hmac::<Sha256>::new_from_slice(token) else {
        unreachable!("a key of any length will do")
    };
    proof.update(label);
    proof.update(&[u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    for part in [name, client, server] {
        proof.update(part);
    }
    proof
}

fn nonce() -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    // So few bytes come at once, or not at all.
    if getrandom(&mut bytes, GetRandomFlags::empty())? < SIZE {
        return Err(io::Error::other("the system has no random numbers"));
    }
    Ok(bytes)
}

async fn read<const N: usize>(line: &mut impl Line) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let received = line.receive(&mut bytes).await;
    received.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => denied("the peer hung up during the token handshake"),
        _ => error,
    })?;
    Ok(bytes)
}

fn check_name(name: &str) -> io::Result<()> {
    if name.len() > MAX_NAME {
        return Err(invalid(format!("a name has at most {MAX_NAME} bytes")));
    }
    Ok(())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn denied(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}
