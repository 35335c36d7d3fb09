//! What went wrong with an encrypted connection, and what to do about it.

use std::error::Error;
use std::sync::Arc;

use redis::RedisError;
use rustls::{AlertDescription, CertificateError, Error as Tls};

/// The words for it, where that was it.
pub(super) fn words(error: &RedisError) -> Option<String> {
    let cause = match io_error(error) {
        Some(error) => error.get_ref()?,
        None => cause(error)?,
    };
    if let Some(none) = cause.downcast_ref::<NoTls>() {
        return Some(none.to_string());
    }
    cause.downcast_ref::<Tls>().map(told)
}

/// The system's error, where it is one.
pub(super) fn io_error(error: &RedisError) -> Option<&std::io::Error> {
    cause(error)?.downcast_ref()
}

fn cause(error: &RedisError) -> Option<&(dyn Error + 'static)> {
    // The driver keeps the cause in an `Arc`, behind which nothing but this finds it.
    let kept = error.source()?;
    Some(match kept.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(inner) => &**inner,
        None => kept,
    })
}

/// What answers does not speak TLS; holds what it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoTls(pub(super) &'static str);

impl Error for NoTls {}

impl std::fmt::Display for NoTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "what answers there {}. Name the TLS port of Redis (tls-port), or write redis:// for a connection that is not encrypted",
            self.0
        )
    }
}

fn told(error: &Tls) -> String {
    match error {
        Tls::InvalidCertificate(why) => certificate(why),
        Tls::AlertReceived(alert) => refused(*alert),
        Tls::InvalidMessage(_) => {
            "what answers there does not speak TLS. Name the TLS port of Redis (tls-port), or write redis:// for a connection that is not encrypted".into()
        }
        error => error.to_string(),
    }
}

/// What is wrong with the server's certificate.
fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "nobody who is trusted here vouches for its certificate. Put the certificate of the CA that signed it into REDIS_CA_FILE".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired. Have it renewed, and look at this machine's clock".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet. Look at this machine's clock".into()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name. Write the URL with the name that the certificate has".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented
                .iter()
                .map(|name| plain(name))
                .collect::<Vec<_>>()
                .join(", ");
            format!(
                "its certificate is for another name: {names}. Write the URL with a name that the certificate has"
            )
        }
        why => format!("its certificate is not good: {why}"),
    }
}

/// `DnsName("redis.example")` as `redis.example`.
fn plain(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// What the server holds against this side.
fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
            "it wants a certificate of this program. Set REDIS_CERT_FILE and REDIS_KEY_FILE".into()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::DecryptError => format!(
            "it does not accept the certificate of REDIS_CERT_FILE ({alert:?}). Have one made by the CA that Redis trusts (tls-ca-cert-file)"
        ),
        alert => format!("it ended the handshake: {alert:?}"),
    }
}
