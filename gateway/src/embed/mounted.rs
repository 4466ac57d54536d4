//! The gateway under a path of another proxy.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, PurgeAction, RespCacheable};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, PurgeStatus, RangeType, Session};

use super::Gateway;
use crate::proxy::{self, Exchange};

/// A proxy that gives what comes under a path to the gateway, and all else to another `ProxyHttp`, which need not know of it.
///
/// The path in front is taken away: `/ai/v1/chat/completions` is the gateway's `/v1/chat/completions`, so an SDK is given
/// `http://host/ai/v1` as its base URL. The other proxy's downstream modules see the gateway's answers, too: leave
/// compression to its default, which is off.
pub struct Mounted<P> {
    path: String,
    gateway: proxy::Gateway,
    own: P,
}

impl<P> Mounted<P> {
    /// `gateway` under `path`, such as `/ai`; `own` for the rest.
    pub fn new(path: &str, gateway: &Gateway, own: P) -> Self {
        let path = format!("/{}", path.trim_matches('/'));
        Self { path, gateway: gateway.proxy(), own }
    }

    /// What the gateway calls the path of a request; `None`: the request is not for it.
    fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.path == "/" {
            return Some(path);
        }
        let inside = path.strip_prefix(self.path.as_str())?;
        if inside.is_empty() { Some("/") } else { inside.starts_with('/').then_some(inside) }
    }
}

/// The `CTX` of a [`Mounted`] proxy.
pub struct MountCtx<C> {
    /// The gateway's, of a request that is for it.
    gateway: Option<Box<Exchange>>,
    /// The other proxy's.
    pub own: C,
}

/// Calls a hook of the proxy that the request is for, with that one's context.
macro_rules! whose {
    ($self:ident, &mut $mounted:ident, |$proxy:ident, $ctx:ident| $call:expr) => {
        match &mut $mounted.gateway {
            Some($ctx) => {
                let $proxy = &$self.gateway;
                $call
            }
            None => {
                let ($proxy, $ctx) = (&$self.own, &mut $mounted.own);
                $call
            }
        }
    };
    ($self:ident, &$mounted:ident, |$proxy:ident, $ctx:ident| $call:expr) => {
        match &$mounted.gateway {
            Some($ctx) => {
                let $proxy = &$self.gateway;
                $call
            }
            None => {
                let ($proxy, $ctx) = (&$self.own, &$mounted.own);
                $call
            }
        }
    };
}

#[async_trait]
impl<P> ProxyHttp for Mounted<P>
where
    P: ProxyHttp + Send + Sync,
    P::CTX: Send + Sync,
{
    type CTX = MountCtx<P::CTX>;

    fn new_ctx(&self) -> Self::CTX {
        MountCtx { gateway: None, own: self.own.new_ctx() }
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        self.own.init_downstream_modules(modules);
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        let uri = &session.req_header().uri;
        let Some(inside) = self.inside(uri.path()) else {
            return self.own.early_request_filter(session, &mut ctx.own).await;
        };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("{inside}{query}").parse() {
            session.req_header_mut().set_uri(uri);
        }
        let gateway = ctx.gateway.insert(self.gateway.new_ctx());
        self.gateway.early_request_filter(session, gateway).await
    }

    fn cache_vary_filter(&self, meta: &CacheMeta, ctx: &mut Self::CTX, request: &RequestHeader) -> Option<HashBinary> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.cache_vary_filter(meta, ctx, request))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.fail_to_connect(session, peer, ctx, error))
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.error_while_proxy(peer, session, error, ctx, reused))
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.connected_to_upstream(session, reused, peer, fd, digest, ctx).await)
    }

    fn persist_connection_context(&self, session: &Session, ctx: &Self::CTX) -> Option<Box<dyn Any + Send + Sync>> {
        whose!(self, &ctx, |proxy, ctx| proxy.persist_connection_context(session, ctx))
    }

    fn on_connection_reuse(&self, session: &mut Session, ctx: &mut Self::CTX, before: Box<dyn Any + Send + Sync>) {
        // Called before the request is looked at: what is kept is the other proxy's.
        self.own.on_connection_reuse(session, &mut ctx.own, before);
    }

    fn purge_response_filter(
        &self,
        session: &Session,
        ctx: &mut Self::CTX,
        status: PurgeStatus,
        response: &mut std::borrow::Cow<'static, ResponseHeader>,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.purge_response_filter(session, ctx, status, response))
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.request_filter(session, ctx).await)
    }

    fn allow_spawning_subrequest(&self, session: &Session, ctx: &Self::CTX) -> bool {
        whose!(self, &ctx, |proxy, ctx| proxy.allow_spawning_subrequest(session, ctx))
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.request_body_filter(session, body, end, ctx).await)
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.request_cache_filter(session, ctx))
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut Self::CTX) -> Result<CacheKey> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.cache_key_callback(session, ctx))
    }

    fn cache_miss(&self, session: &mut Session, ctx: &mut Self::CTX) {
        whose!(self, &mut ctx, |proxy, ctx| proxy.cache_miss(session, ctx))
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        hit: &mut HitHandler,
        fresh: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.cache_hit_filter(session, meta, hit, fresh, ctx).await)
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.proxy_upstream_filter(session, ctx).await)
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        header: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.response_cache_filter(session, header, ctx))
    }

    fn cache_not_modified_filter(
        &self,
        session: &Session,
        header: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<bool> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.cache_not_modified_filter(session, header, ctx))
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> RangeType {
        whose!(self, &mut ctx, |proxy, ctx| proxy.range_header_filter(session, header, ctx))
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.upstream_peer(session, ctx).await)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.upstream_request_filter(session, upstream, ctx).await)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        upstream: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.upstream_response_filter(session, upstream, ctx).await)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.response_filter(session, header, ctx).await)
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.upstream_response_body_filter(session, body, end, ctx))
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.upstream_response_trailer_filter(session, trailers, ctx))
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.response_body_filter(session, body, end, ctx))
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        whose!(self, &mut ctx, |proxy, ctx| proxy.response_trailer_filter(session, trailers, ctx).await)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        whose!(self, &mut ctx, |proxy, ctx| proxy.logging(session, error, ctx).await)
    }

    fn suppress_error_log(&self, session: &Session, ctx: &Self::CTX, error: &Error) -> bool {
        whose!(self, &ctx, |proxy, ctx| proxy.suppress_error_log(session, ctx, error))
    }

    fn suppress_proxy_warn_log(
        &self,
        session: &Session,
        ctx: &Self::CTX,
        error: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        whose!(self, &ctx, |proxy, ctx| proxy.suppress_proxy_warn_log(session, ctx, error, context))
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        whose!(self, &mut ctx, |proxy, ctx| proxy.fail_to_proxy(session, error, ctx).await)
    }

    fn should_serve_stale(&self, session: &mut Session, ctx: &mut Self::CTX, error: Option<&Error>) -> bool {
        whose!(self, &mut ctx, |proxy, ctx| proxy.should_serve_stale(session, ctx, error))
    }

    fn is_purge(&self, session: &Session, ctx: &Self::CTX) -> bool {
        whose!(self, &ctx, |proxy, ctx| proxy.is_purge(session, ctx))
    }

    fn purge_action(&self, session: &Session, ctx: &Self::CTX) -> PurgeAction {
        whose!(self, &ctx, |proxy, ctx| proxy.purge_action(session, ctx))
    }

    fn request_summary(&self, session: &Session, ctx: &Self::CTX) -> String {
        whose!(self, &ctx, |proxy, ctx| proxy.request_summary(session, ctx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_are_the_path() {
        let gateway = Gateway::builder().config_text("[providers.m]\nkind = \"mock\"").build().unwrap();
        let inside = |path: &str, asked: &'static str| Mounted::new(path, &gateway, ()).inside(asked);
        assert_eq!(inside("/ai", "/ai/v1/models"), Some("/v1/models"));
        assert_eq!(inside("ai/", "/ai"), Some("/"));
        assert_eq!((inside("/ai", "/aid/v1"), inside("/ai", "/v1")), (None, None));
        assert_eq!(inside("/", "/v1"), Some("/v1"));
    }
}
