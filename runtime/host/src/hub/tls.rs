//! Encrypted connections, by rustls.

use std::io;
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Trusts the system's certificate authorities, those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or where there are none, Mozilla's.
pub(crate) fn config() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots = if found.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::from(found.into_iter().map(|cert| Certificate::from_der(&cert).to_owned()))
    };
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(Arc::new(provider())).build()
}

#[cfg(feature = "tls")]
fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(all(feature = "tls-rustcrypto", not(feature = "tls")))]
fn provider() -> rustls::crypto::CryptoProvider {
    rustls_rustcrypto::provider()
}

/// What is wrong with a connection, in words.
pub(crate) fn reason(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired; check this machine's clock, or wait until the server has a new one".into()
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
            "its certificate is another host's; check the address".into()
        }
        // An authority may have the name of one that is trusted, and another key.
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "nobody whom this machine trusts has signed its certificate; name the authority's file in SSL_CERT_FILE if you trust it".into()
        }
        error => crate::one_line(&error.to_string()),
    }
}

/// As [`reason`], of an error of a connection, if it is one of these.
pub(crate) fn of_io(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(reason)
}
