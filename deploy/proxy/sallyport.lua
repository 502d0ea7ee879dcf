-- HAProxy (2.6 or later) asks Sallyport about every request for a panel. Copy
-- this file to /etc/haproxy; then, with the address that Sallyport listens at:
--
--     global
--         tune.lua.maxmem 64
--         lua-load /etc/haproxy/sallyport.lua
--     frontend panel
--         mode http
--         http-request deny deny_status 400 if { req.fhdr(host) -m sub , }
--         http-request lua.sallyport 127.0.0.1:9091 if !{ path_beg /.sallyport/ }
--         use_backend sallyport if { path_beg /.sallyport/ }
--         use_backend panel if { req.fhdr(host),host_only -i panel.example.com } !{ path_beg /.sallyport/ }
--     backend sallyport
--         mode http
--         option forwardfor
--         server sallyport 127.0.0.1:9091
--     backend panel
--         mode http
--         option http-server-close
--         server panel 127.0.0.1:8082
--
-- Without "mode http" HAProxy only warns that it ignores the rules, and the panel is open to
-- everybody.
--
-- tune.lua.maxmem limits the memory that an endless answer of a faulty portal could use;
-- without it HAProxy would run out of memory.
--
-- Name the host of each panel as above, and don't set default_backend: it would get
-- requests for other hosts, while Sallyport decides about the host in the request. Use
-- req.fhdr, never hdr or req.hdr: those split the host at its commas and match any part,
-- so HAProxy could ask Sallyport about one panel and let another one answer.
--
-- On a connection that is used again, the panel could take an unread body for the next
-- request; http-server-close makes the panel close each connection. Panels that use NTLM or
-- Negotiate need "http-reuse never" in its place.

-- Headers that belong to the client's connection, or that the code below writes itself.
local kept_back = {
  ["host"] = true, ["connection"] = true, ["upgrade"] = true, ["te"] = true, ["trailer"] = true,
  ["keep-alive"] = true, ["transfer-encoding"] = true, ["content-length"] = true, ["expect"] = true,
  ["x-forwarded-method"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
}

-- Headers that the panel gets from Sallyport's answer, and never from the client.
-- Authorization in the answer is the client's own, except for machine passes.
local told = { "Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Authorization", "Sallyport-Pass" }

-- Panels believe that a proxy sets headers with these prefixes and names, so HAProxy drops
-- the client's own. Every character other than letters and digits counts as "-", since
-- some servers read X_Forwarded_For as X-Forwarded-For.
local families = {
  "cf-connecting-", "client-cert", "cloudfront-viewer-", "fastly-client-", "fly-", "forwarded",
  "iv-", "oidc-", "proxy", "remote-", "shib-", "sm-user", "wl-proxy-", "x-consumer-",
  "x-envoy-original-", "x-oidc-", "x-pomerium-", "x-vercel-",
  "ssl-client-", "tailscale-user-", "x-accel-", "x-appengine-", "x-auth-request-",
  "x-authenticated-", "x-authentik-", "x-azure-", "x-client-cert", "x-forwarded",
  "x-goog-authenticated-user-", "x-ms-client-principal", "x-original-", "x-proxyuser-", "x-real-",
  "x-remote-", "x-rewrite-", "x-sendfile-", "x-ssl-", "x-webauth-",
}
local names = {
  "do-connecting-ip", "incap-client-ip", "x-request-uri", "x-sucuri-clientip",
  "ali-cdn-real-ip", "cdn-src-ip", "cf-access-authenticated-user-email", "cf-pseudo-ipv4",
  "cf-visitor", "client-ip", "cloudfront-forwarded-proto", "fastly-ssl", "fly-client-ip",
  "front-end-https", "https", "request-uri", "true-client-ip", "wl-proxy-client-ip",
  "x-amzn-oidc-identity", "x-arr-clientcert", "x-arr-ssl", "x-backend-host", "x-client-dn",
  "x-client-ip", "x-client-port", "x-client-verify", "x-cluster-client-ip",
  "x-envoy-external-address", "x-host", "x-http-host-override", "x-http-path-override", "x-https",
  "x-ingress-path", "x-nf-client-connection-ip", "x-originating-ip", "x-proxy-host",
  "x-proxy-url", "x-scheme", "x-script-name", "x-ssl", "x-token-subject", "x-token-user-email",
  "x-token-user-name", "x-url", "x-url-scheme", "x-vouch-user",
}

local function is_proxy_header(name)
  local plain = name:lower():gsub("[^a-z0-9]", "-")
  for _, family in ipairs(families) do
    if plain:sub(1, #family) == family then
      return true
    end
  end
  for _, one in ipairs(names) do
    if plain == one then
      return true
    end
  end
  return false
end

-- If Sallyport takes longer to answer, the panel stays closed.
local timeout_ms = 10000

-- clean removes the headers that a client may not send to a panel. "Upgrade: websocket"
-- passes; after another upgrade, such as h2c, a client could send the panel requests that
-- HAProxy doesn't ask Sallyport about.
local function clean(txn, host)
  local given = txn.http:req_get_headers()
  for name in pairs(given) do
    if is_proxy_header(name) then
      txn.http:req_del_header(name)
    end
  end
  local upgrade = given["upgrade"]
  if not upgrade or upgrade[1] or upgrade[0]:lower() ~= "websocket" then
    txn.http:req_del_header("upgrade")
    -- HAProxy then writes its own header. It would keep "upgrade" of the client's, and not
    -- tell the panel to close the connection.
    txn.http:req_del_header("connection")
  end
  txn.http:req_del_header("http2-settings")
  txn.http:req_set_header("X-Forwarded-For", txn.sf:src())
  txn.http:req_set_header("X-Forwarded-Host", host)
  local tls = txn.f:ssl_fc() -- 0 or 1 in some versions, and 0 is true to Lua
  txn.http:req_set_header("X-Forwarded-Proto", (tls == true or tls == 1) and "https" or "http")
end

local function answer(txn, status, headers, body)
  local reply = txn:reply({ status = status })
  for name, values in pairs(headers) do
    -- HAProxy writes the length itself.
    if name ~= "content-length" and name ~= "connection" and name ~= "transfer-encoding" then
      for _, value in pairs(values) do
        reply:add_header(name, value)
      end
    end
  end
  reply:set_body(body)
  txn:done(reply)
end

core.register_action("sallyport", { "http-req" }, function(txn, address)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not kept_back[name] then
      local list = {}
      while values[#list] do -- they begin at 0
        list[#list + 1] = values[#list]
      end
      headers[name] = list
    end
  end
  -- After the addresses that proxies in front of this one wrote.
  local hops = headers["x-forwarded-for"] or {}
  hops[#hops + 1] = txn.sf:src()
  headers["x-forwarded-for"] = hops
  headers["host"] = { "sallyport" }
  headers["x-forwarded-method"] = { txn.sf:method() }
  -- The whole header: Sallyport refuses a host with a comma.
  local host = txn.sf:req_fhdr("host")
  headers["x-forwarded-host"] = { host }
  headers["x-forwarded-uri"] = { txn.sf:pathq() }

  local asked, said = pcall(function()
    return core.httpclient():get({ url = "http://" .. address .. "/verify/haproxy", headers = headers, timeout = timeout_ms })
  end)
  if not asked or said == nil or said.status == nil or said.status < 200 then
    answer(txn, 503, {}, "The sign-in portal doesn't answer. Try again in a minute.\n")
    return
  end
  if said.status ~= 200 then
    answer(txn, said.status, said.headers, said.body or "")
    return
  end
  clean(txn, host)
  for _, name in ipairs(told) do
    txn.http:req_del_header(name)
    local values = said.headers[name:lower()]
    if values and values[0] and values[0] ~= "" then
      txn.http:req_set_header(name, values[0])
    end
  end
end, 1)
