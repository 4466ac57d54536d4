//! What the sessions of ours have in common that stand in the place of a client's.

use bytes::Bytes;
use futures::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;

/// Messages beside HTTP, which none of them has.
pub type CustomMessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A session that is never used: it stands where another one was, for the moment of a swap.
pub fn vacant() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

/// For a session whose request has been read, and which has no messages beside HTTP: what it says of both.
macro_rules! only_answers {
    () => {
        fn is_body_done(&mut self) -> bool {
            true
        }

        fn is_body_empty(&mut self) -> bool {
            false
        }

        fn enable_retry_buffering(&mut self) {}

        fn retry_buffer_truncated(&self) -> bool {
            false
        }

        fn take_custom_message_reader(&mut self) -> Option<$crate::proxy::replay::custom::CustomMessageReader> {
            None
        }

        fn restore_custom_message_reader(
            &mut self,
            _reader: $crate::proxy::replay::custom::CustomMessageReader,
        ) -> ::pingora_error::Result<()> {
            Ok(())
        }

        fn take_custom_message_writer(
            &mut self,
        ) -> Option<Box<dyn ::pingora_core::protocols::http::custom::CustomMessageWrite>> {
            None
        }

        fn restore_custom_message_writer(
            &mut self,
            _writer: Box<dyn ::pingora_core::protocols::http::custom::CustomMessageWrite>,
        ) -> ::pingora_error::Result<()> {
            Ok(())
        }
    };
}
pub(in crate::proxy) use only_answers;
