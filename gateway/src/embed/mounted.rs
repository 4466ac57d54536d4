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
        let gateway = ctx.gateway.insert(Box::new(self.gateway.new_ctx()));
        self.gateway.early_request_filter(session, gateway).await
    }

    fn cache_vary_filter(&self, meta: &CacheMeta, ctx: &mut Self::CTX, request: &RequestHeader) -> Option<HashBinary> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.cache_vary_filter(meta, gateway, request),
            None => self.own.cache_vary_filter(meta, &mut ctx.own, request),
        }
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.fail_to_connect(session, peer, gateway, error),
            None => self.own.fail_to_connect(session, peer, &mut ctx.own, error),
        }
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.error_while_proxy(peer, session, error, gateway, reused),
            None => self.own.error_while_proxy(peer, session, error, &mut ctx.own, reused),
        }
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
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.connected_to_upstream(session, reused, peer, fd, digest, gateway).await,
            None => self.own.connected_to_upstream(session, reused, peer, fd, digest, &mut ctx.own).await,
        }
    }

    fn persist_connection_context(&self, session: &Session, ctx: &Self::CTX) -> Option<Box<dyn Any + Send + Sync>> {
        match &ctx.gateway {
            Some(gateway) => self.gateway.persist_connection_context(session, gateway),
            None => self.own.persist_connection_context(session, &ctx.own),
        }
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
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.purge_response_filter(session, gateway, status, response),
            None => self.own.purge_response_filter(session, &mut ctx.own, status, response),
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.request_filter(session, gateway).await,
            None => self.own.request_filter(session, &mut ctx.own).await,
        }
    }

    fn allow_spawning_subrequest(&self, session: &Session, ctx: &Self::CTX) -> bool {
        match &ctx.gateway {
            Some(gateway) => self.gateway.allow_spawning_subrequest(session, gateway),
            None => self.own.allow_spawning_subrequest(session, &ctx.own),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.request_body_filter(session, body, end, gateway).await,
            None => self.own.request_body_filter(session, body, end, &mut ctx.own).await,
        }
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.request_cache_filter(session, gateway),
            None => self.own.request_cache_filter(session, &mut ctx.own),
        }
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut Self::CTX) -> Result<CacheKey> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.cache_key_callback(session, gateway),
            None => self.own.cache_key_callback(session, &mut ctx.own),
        }
    }

    fn cache_miss(&self, session: &mut Session, ctx: &mut Self::CTX) {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.cache_miss(session, gateway),
            None => self.own.cache_miss(session, &mut ctx.own),
        }
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        hit: &mut HitHandler,
        fresh: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.cache_hit_filter(session, meta, hit, fresh, gateway).await,
            None => self.own.cache_hit_filter(session, meta, hit, fresh, &mut ctx.own).await,
        }
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.proxy_upstream_filter(session, gateway).await,
            None => self.own.proxy_upstream_filter(session, &mut ctx.own).await,
        }
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        header: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.response_cache_filter(session, header, gateway),
            None => self.own.response_cache_filter(session, header, &mut ctx.own),
        }
    }

    fn cache_not_modified_filter(
        &self,
        session: &Session,
        header: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<bool> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.cache_not_modified_filter(session, header, gateway),
            None => self.own.cache_not_modified_filter(session, header, &mut ctx.own),
        }
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> RangeType {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.range_header_filter(session, header, gateway),
            None => self.own.range_header_filter(session, header, &mut ctx.own),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.upstream_peer(session, gateway).await,
            None => self.own.upstream_peer(session, &mut ctx.own).await,
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.upstream_request_filter(session, upstream, gateway).await,
            None => self.own.upstream_request_filter(session, upstream, &mut ctx.own).await,
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        upstream: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.upstream_response_filter(session, upstream, gateway).await,
            None => self.own.upstream_response_filter(session, upstream, &mut ctx.own).await,
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.response_filter(session, header, gateway).await,
            None => self.own.response_filter(session, header, &mut ctx.own).await,
        }
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.upstream_response_body_filter(session, body, end, gateway),
            None => self.own.upstream_response_body_filter(session, body, end, &mut ctx.own),
        }
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.upstream_response_trailer_filter(session, trailers, gateway),
            None => self.own.upstream_response_trailer_filter(session, trailers, &mut ctx.own),
        }
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.response_body_filter(session, body, end, gateway),
            None => self.own.response_body_filter(session, body, end, &mut ctx.own),
        }
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.response_trailer_filter(session, trailers, gateway).await,
            None => self.own.response_trailer_filter(session, trailers, &mut ctx.own).await,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.logging(session, error, gateway).await,
            None => self.own.logging(session, error, &mut ctx.own).await,
        }
    }

    fn suppress_error_log(&self, session: &Session, ctx: &Self::CTX, error: &Error) -> bool {
        match &ctx.gateway {
            Some(gateway) => self.gateway.suppress_error_log(session, gateway, error),
            None => self.own.suppress_error_log(session, &ctx.own, error),
        }
    }

    fn suppress_proxy_warn_log(
        &self,
        session: &Session,
        ctx: &Self::CTX,
        error: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        match &ctx.gateway {
            Some(gateway) => self.gateway.suppress_proxy_warn_log(session, gateway, error, context),
            None => self.own.suppress_proxy_warn_log(session, &ctx.own, error, context),
        }
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.fail_to_proxy(session, error, gateway).await,
            None => self.own.fail_to_proxy(session, error, &mut ctx.own).await,
        }
    }

    fn should_serve_stale(&self, session: &mut Session, ctx: &mut Self::CTX, error: Option<&Error>) -> bool {
        match &mut ctx.gateway {
            Some(gateway) => self.gateway.should_serve_stale(session, gateway, error),
            None => self.own.should_serve_stale(session, &mut ctx.own, error),
        }
    }

    fn is_purge(&self, session: &Session, ctx: &Self::CTX) -> bool {
        match &ctx.gateway {
            Some(gateway) => self.gateway.is_purge(session, gateway),
            None => self.own.is_purge(session, &ctx.own),
        }
    }

    fn purge_action(&self, session: &Session, ctx: &Self::CTX) -> PurgeAction {
        match &ctx.gateway {
            Some(gateway) => self.gateway.purge_action(session, gateway),
            None => self.own.purge_action(session, &ctx.own),
        }
    }

    fn request_summary(&self, session: &Session, ctx: &Self::CTX) -> String {
        match &ctx.gateway {
            Some(gateway) => self.gateway.request_summary(session, gateway),
            None => self.own.request_summary(session, &ctx.own),
        }
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
