//! What stands between a configuration's addresses and Pingora's listeners and peers (`prebound`, `dns`); one HTTP call
//! beside those of Pingora's proxy (`call`); what a header says of its body (`media_type`); and what is undone of what providers do to
//! their answers unasked (`unasked`).

pub mod call;
pub mod dns;
pub mod media_type;
pub mod patience;
pub mod prebound;
pub mod unasked;
