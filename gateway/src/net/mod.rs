//! What stands between a configuration's addresses and Pingora's listeners and peers (`prebound`, `dns`); one HTTP call
//! beside those of Pingora's proxy (`call`); and what is undone of what providers do to their answers unasked (`unasked`).

pub mod call;
pub mod dns;
pub mod patience;
pub mod prebound;
pub mod unasked;
