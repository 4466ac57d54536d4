//! A mock on threads of the test's process.

use std::net::SocketAddr;
use std::{io, thread};

use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents as _};
use tokio::sync::watch;

use crate::mock::{Options, service};
use crate::net::prebound::Prebound;

/// It stops when dropped.
pub struct Running {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub fn start(options: &Options) -> io::Result<Self> {
        let socket = Prebound::bind(&options.listen)?;
        let addr = socket.local_addr();
        let mut service = service(socket, options.tls.as_ref())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads.max(1)).enable_all().build()?;
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = stopped.clone();
        let thread = thread::Builder::new().name("mock".into()).spawn(move || {
            runtime.spawn(async move {
                let ready = ServiceReadyNotifier::new(watch::channel(false).0);
                service.start_service(None, shutdown, 1, ready).await;
            });
            // An error means that the handle is gone, which stops the mock just as well.
            let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
            runtime.shutdown_background();
        })?;
        Ok(Running { addr, stop, thread: Some(thread) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody listens only if the thread has ended.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
