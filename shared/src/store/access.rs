//! What opens the door: a password and certificates that stand in files of their own. They are read
//! at each login, so that a changed file needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redis::{ClientTlsConfig, RedisConnectionInfo, TlsCertificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::address::{Address, has_password, user};
use super::{StoreError, Target};
use crate::config::{RedisAccess, RedisArgs};

/// The settings that a login is made of.
#[derive(Debug)]
pub(super) struct Source {
    url: String,
    settings: RedisAccess,
    target: Target,
}

impl Source {
    pub(super) fn new(args: &RedisArgs) -> Self {
        Self {
            url: args.url(),
            settings: args.access.clone(),
            target: Target::new(args),
        }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Who this is to the server. A user without any password never logs in.
    pub(super) fn user(&self) -> String {
        let has_password = has_password(&self.url)
            || self.settings.password.0.is_some()
            || file(self.settings.redis_password_file.as_ref()).is_some();
        if has_password {
            user(&self.url)
        } else {
            "default".to_owned()
        }
    }

    /// Whether a login may be another one later.
    pub(super) fn has_files(&self) -> bool {
        let RedisAccess {
            redis_password_file,
            redis_ca_file,
            redis_cert_file,
            redis_key_file,
            ..
        } = &self.settings;
        [
            redis_password_file,
            redis_ca_file,
            redis_cert_file,
            redis_key_file,
        ]
        .iter()
        .any(|setting| file(setting.as_ref()).is_some())
    }

    /// Reads the files, and takes the URL apart.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::BadAccess`].
    pub(super) fn read(&self) -> Result<(Address, Access), StoreError> {
        let access = Access::read(&self.settings, &self.url)?;
        let address = Address::parse(&self.url, &access).map_err(|why| StoreError::BadUrl {
            url: self.target.clone(),
            why,
        })?;
        Ok((address, access))
    }

    /// The same without holding up a thread of the runtime: a file system may hang.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(super) async fn read_again(self: &Arc<Self>) -> Result<(Address, Access), StoreError> {
        if !self.has_files() {
            return self.read();
        }
        let source = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || source.read());
        read.await.unwrap_or_else(|error| {
            Err(StoreError::BadAccess(format!(
                "the files of the Redis login cannot be read: {error}. Try again."
            )))
        })
    }

    /// The login at a server, as the files have it now.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(super) async fn login(
        self: &Arc<Self>,
    ) -> Result<(RedisConnectionInfo, Access), StoreError> {
        let (address, access) = self.read_again().await?;
        Ok((address.settings(), access))
    }
}

/// What was read of the settings.
#[derive(Default)]
pub(super) struct Access {
    /// For the servers, where the URL has none.
    pub(super) password: Option<String>,
    /// For the sentinels, where the URL has none.
    pub(super) sentinel_password: Option<String>,
    /// Whom to trust, and what to show.
    pub(super) certificates: Option<TlsCertificates>,
}

impl Access {
    /// Reads the files that the settings name; not that of the password, where the URL has one.
    ///
    /// # Errors
    /// [`StoreError::BadAccess`].
    pub(super) fn read(settings: &RedisAccess, url: &str) -> Result<Self, StoreError> {
        let password = match file(settings.redis_password_file.as_ref()) {
            Some(_) if has_password(url) => None,
            Some(path) => Some(password(path)?),
            None => settings.password.0.clone(),
        };
        Ok(Self {
            password,
            sentinel_password: settings.sentinel_password.0.clone(),
            certificates: certificates(settings)?,
        })
    }

    /// What an encrypted connection begins with.
    ///
    /// # Errors
    /// [`StoreError::BadAccess`].
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, StoreError> {
        let (own, ca) = match &self.certificates {
            Some(TlsCertificates {
                client_tls,
                root_cert,
            }) => (client_tls.as_ref(), root_cert.as_deref()),
            None => (None, None),
        };
        let config = ClientConfig::builder().with_root_certificates(roots(ca)?);
        let Some(ClientTlsConfig {
            client_cert,
            client_key,
        }) = own
        else {
            return Ok(Arc::new(config.with_no_client_auth()));
        };
        let bad = |error: &dyn std::fmt::Display| {
            StoreError::BadAccess(format!(
                "REDIS_CERT_FILE and REDIS_KEY_FILE cannot be used: {error}. The key must be the certificate's own."
            ))
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(client_cert)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(&error))?;
        let key = PrivateKeyDer::from_pem_slice(client_key).map_err(|error| bad(&error))?;
        let config = config.with_client_auth_cert(chain, key);
        Ok(Arc::new(config.map_err(|error| bad(&error))?))
    }
}

/// Whom to trust: those of a file, else those of this machine.
fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, StoreError> {
    let bad = |what: &str, error: &dyn std::fmt::Display| {
        StoreError::BadAccess(format!("{what}: {error}."))
    };
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        let mut own = rustls_native_certs::load_native_certs();
        if let Some(error) = own.errors.pop() {
            let what = "the certificates that this machine trusts cannot be read (REDIS_CA_FILE names others)";
            return Err(bad(what, &error));
        }
        roots.add_parsable_certificates(own.certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let what = "REDIS_CA_FILE cannot be used";
        let certificate = certificate.map_err(|error| bad(what, &error))?;
        roots.add(certificate).map_err(|error| bad(what, &error))?;
    }
    Ok(roots)
}

/// An empty setting counts as none, as in an `.env` file with the value left out.
fn file(setting: Option<&PathBuf>) -> Option<&Path> {
    setting
        .map(PathBuf::as_path)
        .filter(|path| !path.as_os_str().is_empty())
}

/// The first line's text; editors end a line that was meant to have no end.
fn password(path: &Path) -> Result<String, StoreError> {
    let bytes = bytes(path, "REDIS_PASSWORD_FILE")?;
    let wrong = |what: &str| {
        StoreError::BadAccess(format!(
            "REDIS_PASSWORD_FILE {} {what}. Write the password into it, alone on one line.",
            path.display()
        ))
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("is no text"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(wrong("is empty")),
        text if text.contains('\n') => Err(wrong("has more than one line")),
        text => Ok(text.to_owned()),
    }
}

fn certificates(settings: &RedisAccess) -> Result<Option<TlsCertificates>, StoreError> {
    let ca = file(settings.redis_ca_file.as_ref());
    let own = (
        file(settings.redis_cert_file.as_ref()),
        file(settings.redis_key_file.as_ref()),
    );
    let client_tls = match own {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: pem(cert, "REDIS_CERT_FILE", "CERTIFICATE")?,
            client_key: pem(key, "REDIS_KEY_FILE", "PRIVATE KEY")?,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(StoreError::BadAccess(
                "REDIS_CERT_FILE and REDIS_KEY_FILE go together: a certificate is shown by who holds its key. Set both, or neither.".into(),
            ));
        }
    };
    let root_cert = ca.map(|ca| pem(ca, "REDIS_CA_FILE", "CERTIFICATE"));
    let root_cert = root_cert.transpose()?;
    Ok(
        (root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates {
            client_tls,
            root_cert,
        }),
    )
}

/// Reads a PEM file that must hold something of this kind: the driver takes one without for a list
/// of none.
fn pem(path: &Path, setting: &str, kind: &str) -> Result<Vec<u8>, StoreError> {
    let bytes = bytes(path, setting)?;
    let mark = format!("{kind}-----");
    let has = String::from_utf8_lossy(&bytes)
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&mark));
    if has {
        return Ok(bytes);
    }
    Err(StoreError::BadAccess(format!(
        "{setting} {} holds no -----BEGIN {kind}-----. Name a PEM file; openssl turns other forms into one.",
        path.display()
    )))
}

fn bytes(path: &Path, setting: &str) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| {
        StoreError::BadAccess(format!(
            "cannot read {setting} {}: {error}. Name a file that this program may read.",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> (tempfile::NamedTempFile, RedisAccess) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, text).expect("written");
        let access = RedisAccess {
            redis_password_file: Some(file.path().to_owned()),
            ..RedisAccess::default()
        };
        (file, access)
    }

    #[test]
    fn a_password_is_the_one_line_of_its_file() {
        for text in ["hunter2", "hunter2\n", "hunter2\r\n"] {
            let (_file, access) = settings(text);
            let read = Access::read(&access, "redis://ada@host").expect(text);
            assert_eq!(read.password.as_deref(), Some("hunter2"));
        }
        for text in ["", "\n", "hunter2\nmore\n"] {
            let (_file, access) = settings(text);
            let error = Access::read(&access, "redis://ada@host")
                .err()
                .expect("refused")
                .to_string();
            assert!(error.contains("REDIS_PASSWORD_FILE"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (file, _) = settings("no PEM at all");
        let path = || Some(file.path().to_owned());
        let nowhere = || Some(PathBuf::from("/nonexistent/file"));
        for (access, what) in [
            (
                RedisAccess {
                    redis_ca_file: path(),
                    ..RedisAccess::default()
                },
                "holds no -----BEGIN CERTIFICATE-----",
            ),
            (
                RedisAccess {
                    redis_ca_file: nowhere(),
                    ..RedisAccess::default()
                },
                "cannot read REDIS_CA_FILE /nonexistent/file",
            ),
            (
                RedisAccess {
                    redis_cert_file: path(),
                    ..RedisAccess::default()
                },
                "go together",
            ),
        ] {
            let error = Access::read(&access, "redis://ada@host")
                .err()
                .expect("refused")
                .to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
