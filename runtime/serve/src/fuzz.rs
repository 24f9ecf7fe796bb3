//! Connections without an address, for the fuzz target `serve`.

use crate::api::State;
use crate::engine::Stats;
use crate::server::{Options, connection};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// What answers requests, without a listener.
pub struct Server {
    state: Arc<State>,
    connections: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Opens the only model of these options.
    ///
    /// # Errors
    /// A line that names what is wrong with the model.
    pub async fn start(options: Options) -> Result<Server, String> {
        let state = Arc::new(State::new(&options));
        state.models.begin().await?;
        let (stop, _) = watch::channel(false);
        Ok(Server { state, connections: Arc::new(Semaphore::new(options.connections)), stop })
    }

    /// Answers what comes on a connection, until it ends.
    pub async fn connection(&self, stream: TcpStream) {
        if let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await {
            connection(stream, Arc::clone(&self.state), permit, self.stop.subscribe()).await;
        }
    }

    /// What engines have done, and do.
    pub fn stats(&self) -> Stats {
        self.state.models.totals().stats
    }
}
