//! Certificates made at run time.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A certificate authority of its own, whose root is in a file that is removed with it.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
    file: PathBuf,
}

/// A certificate with its key, for [`Hub::start_tls`](super::Hub::start_tls).
#[derive(Clone, Debug)]
pub struct Certificate(pub(crate) Arc<ServerConfig>);

impl Authority {
    /// Makes a root. Clients who do not know it know none of its certificates.
    ///
    /// # Errors
    /// If the machine gives no random numbers, or no temporary file.
    pub fn new() -> io::Result<Authority> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut parameters = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        parameters.distinguished_name.push(DnType::CommonName, "Smidgen's tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = parameters.self_signed(&key).map_err(io::Error::other)?.pem();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("smidgen-root-{}-{count}.pem", std::process::id()));
        std::fs::write(&file, &root)?;
        Ok(Authority { issuer: Issuer::new(parameters, key), root, file })
    }

    /// The root in a PEM file, to be named by `SSL_CERT_FILE`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The root in PEM.
    pub fn pem(&self) -> &str {
        &self.root
    }

    /// A good certificate for 127.0.0.1 and localhost.
    ///
    /// # Errors
    /// If the machine gives no random numbers.
    pub fn certificate(&self) -> io::Result<Certificate> {
        self.of(&["127.0.0.1", "localhost"], 2099)
    }

    /// A certificate for 127.0.0.1 and localhost that expired in 2020.
    ///
    /// # Errors
    /// As [`certificate`](Self::certificate).
    pub fn expired(&self) -> io::Result<Certificate> {
        self.of(&["127.0.0.1", "localhost"], 2020)
    }

    /// A good certificate for other names, which are hosts or IP addresses.
    ///
    /// # Errors
    /// As [`certificate`](Self::certificate), and for what cannot be a name.
    pub fn for_names(&self, names: &[&str]) -> io::Result<Certificate> {
        self.of(names, 2099)
    }

    fn of(&self, names: &[&str], last_year: i32) -> io::Result<Certificate> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).map_err(io::Error::other)?;
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(last_year, 1, 1);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Certificate(Arc::new(config)))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Whoever cleans temporary folders may have been here.
        _ = std::fs::remove_file(&self.file);
    }
}
