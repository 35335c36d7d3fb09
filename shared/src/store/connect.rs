//! Connects to a server over TCP, TLS or a Unix socket, and meters what passes.
//!
//! The driver has one deadline for a whole reply, however long it is. Here a call ends when its
//! connection is silent, so a large reply over a slow link takes the time it needs. For that the
//! stream must be ours; the driver speaks Redis over it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{FutureExt as _, select_ok};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo, RedisResult, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::access::Source;
use super::tls::NoTls;
use super::{CONNECT_TIMEOUT, StoreError};

/// How long a server may take for the TLS handshake, within [`CONNECT_TIMEOUT`].
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A server, and where the login for it is read each time that one is needed.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) addr: ConnectionAddr,
    source: Arc<Source>,
}

/// Everything a connection needs once its stream is there.
pub(super) struct Dialled {
    pub(super) settings: RedisConnectionInfo,
    pub(super) stream: Metered,
    pub(super) meter: Arc<Meter>,
}

impl Endpoint {
    pub(super) const fn new(addr: ConnectionAddr, source: Arc<Source>) -> Self {
        Self { addr, source }
    }

    /// A stream to the server, and the login as its files have it now.
    ///
    /// # Errors
    /// [`StoreError`]: what is wrong with a file, or with the connection.
    pub(super) async fn dial(&self) -> Result<Dialled, StoreError> {
        let (settings, access) = self.source.login().await?;
        let tls = match &self.addr {
            ConnectionAddr::TcpTls { .. } => Some(access.tls()?),
            _ => None,
        };
        let dial = tokio::time::timeout(CONNECT_TIMEOUT, stream(&self.addr, tls));
        let stream = dial.await.unwrap_or_else(|late| Err(late.into()));
        let stream = stream.map_err(|error| self.error(&error.into()))?;
        let (stream, meter) = Metered::new(stream);
        Ok(Dialled {
            settings,
            stream,
            meter,
        })
    }

    /// A connection of the driver's, whose calls have no deadline: [`Meter::patiently`] has one.
    ///
    /// # Errors
    /// As [`Endpoint::dial`], and what the server says to the login.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Arc<Meter>), StoreError> {
        let Dialled {
            settings,
            stream,
            meter,
        } = self.dial().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let login = async {
            let login = MultiplexedConnection::new_with_config(&settings, stream, config);
            let (connection, driver) = login.await?;
            // It ends with the last handle.
            tokio::spawn(driver);
            Ok(connection)
        };
        Ok((self.in_time(login).await?, meter))
    }

    /// The same, of a server that has a place for it.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub(super) async fn connect_for_sure(
        &self,
    ) -> Result<(MultiplexedConnection, Arc<Meter>), StoreError> {
        let (mut connection, meter) = self.connect().await?;
        // Needs no right, and is answered only where there is a place.
        let mut hello = redis::cmd("HELLO");
        let answer = self.in_time(hello.arg(2).query_async::<Value>(&mut connection));
        match answer.await {
            // What stands between us and Redis may not know it.
            Err(StoreError::Answer(said)) if said.contains("unknown command") => {}
            answer => drop(answer?),
        }
        Ok((connection, meter))
    }

    /// A connection that listens.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub(super) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        let Dialled {
            settings, stream, ..
        } = self.dial().await?;
        self.in_time(PubSub::new(&settings, stream)).await
    }

    async fn in_time<T>(
        &self,
        login: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        let login = tokio::time::timeout(CONNECT_TIMEOUT, login).await;
        let login = login.unwrap_or_else(|late| Err(io::Error::from(late).into()));
        login.map_err(|error| self.error(&error))
    }

    /// Puts into words what went wrong before the connection was there.
    pub(super) fn error(&self, error: &redis::RedisError) -> StoreError {
        StoreError::new(error, self.source.target())
    }
}

/// The stream to an address.
async fn stream(
    addr: &ConnectionAddr,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Box<dyn Stream>> {
    Ok(match (addr, tls) {
        (ConnectionAddr::Tcp(host, port), _) => Box::new(tcp(host, *port).await?),
        (ConnectionAddr::TcpTls { host, port, .. }, Some(config)) => {
            let stream = tcp(host, *port).await?;
            Box::new(handshake(config, host, stream).await?)
        }
        #[cfg(unix)]
        (ConnectionAddr::Unix(path), _) => Box::new(tokio::net::UnixStream::connect(path).await?),
        _ => {
            let what = "this program has no such connection on this system";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
    })
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    // All at once, as the driver does: one that never answers holds up none.
    let connects: Vec<_> = addresses.map(|to| TcpStream::connect(to).boxed()).collect();
    if connects.is_empty() {
        let error = "the host's name leads to no address";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    let (stream, _) = select_ok(connects).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn handshake(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let shake = TlsConnector::from(config).connect(name, stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake).await {
        // A server that waits for the end of a line says nothing to a handshake.
        Err(_) => Err(io::Error::other(NoTls("says nothing to a TLS handshake"))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::other(NoTls("ends the TLS handshake")))
        }
        Ok(shaken) => shaken,
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A stream whose bytes are counted.
pub(super) struct Metered {
    stream: Box<dyn Stream>,
    meter: Arc<Meter>,
}

impl Metered {
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        let own = Arc::clone(&meter);
        (Self { stream, meter: own }, meter)
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        if came.starts_with(b"HTTP/") {
            self.meter.is_http.store(true, Ordering::Relaxed);
        }
        self.meter.passed(came.len());
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.passed(bytes);
            let written = &self.meter.written;
            written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many bytes have passed a connection, both ways, and when the last ones did.
#[derive(Debug)]
pub(super) struct Meter {
    begun: Instant,
    bytes: AtomicU64,
    written: AtomicU64,
    /// Whether what came at once began as an answer of HTTP does.
    is_http: AtomicBool,
    /// In milliseconds after the beginning.
    last: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            is_http: AtomicBool::new(false),
            last: AtomicU64::new(0),
        }
    }
}

impl Meter {
    fn passed(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let last = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.store(last, Ordering::Relaxed);
        }
    }

    /// Whether it is HTTP that the other end speaks.
    pub(super) fn is_http(&self) -> bool {
        self.is_http.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Sees a call through for as long as its connection is never silent for longer than this.
    ///
    /// # Errors
    /// The call's own, and that of a timeout.
    pub(super) async fn patiently<T>(
        &self,
        silence: Duration,
        call: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let mut call = pin!(call);
        let written = self.written.load(Ordering::Relaxed);
        let mut until = Instant::now() + silence;
        loop {
            match tokio::time::timeout_at(until, &mut call).await {
                Ok(answer) => return answer,
                Err(late) => {
                    let sent = self.written.load(Ordering::Relaxed) - written;
                    let next = self.last() + silence + on_its_way(sent);
                    // The clock of the last bytes is coarse.
                    if next <= until + Duration::from_millis(1) {
                        return Err(io::Error::from(late).into());
                    }
                    until = next;
                }
            }
        }
    }
}

/// How much longer a server may be silent after so many bytes were written: they may still be in the
/// buffers of this system and on the way.
pub(super) const fn on_its_way(bytes: u64) -> Duration {
    /// As on a link of 0.8 Mbit/s.
    const BYTES_A_MILLISECOND: u64 = 100;
    Duration::from_millis(bytes / BYTES_A_MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_with_silence_and_not_with_its_length() {
        let meter = Meter::default();
        let limit = Duration::from_secs(10);
        let long = async {
            for _ in 0..12 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                meter.passed(1);
            }
            Ok(())
        };
        assert_eq!(meter.patiently(limit, long).await, Ok(()));
        let begun = Instant::now();
        let silent = meter.patiently::<()>(limit, std::future::pending()).await;
        assert!(silent.expect_err("no byte came").is_timeout());
        assert_eq!(begun.elapsed().as_secs(), limit.as_secs());
    }
}
