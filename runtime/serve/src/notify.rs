//! What systemd is told, where it started the server.

/// Sends a state such as `READY=1` to the socket that `NOTIFY_SOCKET` names, if there is one.
#[cfg(target_os = "linux")]
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    // Who does not listen learns of it otherwise.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
}

/// Elsewhere there is nobody to tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn notify(_state: &str) {}
