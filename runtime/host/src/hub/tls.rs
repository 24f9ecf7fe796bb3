//! Encrypted connections, by rustls.

use super::HubError;
use std::io;
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Trusts the system's certificate authorities, or instead those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or where the system has none, Mozilla's.
///
/// # Errors
/// [`HubError::Variable`] if the variables are set, and lead to none.
pub(crate) fn config() -> Result<TlsConfig, HubError> {
    let found = rustls_native_certs::load_native_certs();
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let variable = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| is_set(name));
    if let (true, Some(variable)) = (found.certs.is_empty(), variable) {
        let words = found.errors.first().map(|error| format!(" ({})", crate::one_line(&error.to_string())));
        let words = words.unwrap_or_default();
        let reason = format!("there is no certificate of an authority in it{words}; name a PEM file, or unset it");
        return Err(HubError::Variable { variable: variable.into(), reason });
    }
    let found = found.certs;
    let roots = if found.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::from(found.into_iter().map(|cert| Certificate::from_der(&cert).to_owned()))
    };
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(Arc::new(provider())).build())
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
        rustls::Error::InvalidMessage(_) => "the server answers without encryption; check the address".into(),
        error => format!("{}; check the address and the network", crate::one_line(&error.to_string())),
    }
}

/// As [`reason`], of an error of a connection, if it is one of these.
pub(crate) fn of_io(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(reason)
}
