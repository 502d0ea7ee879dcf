-- HAProxy (2.6 or later) asks Sallyport about every request for a panel. Copy
-- this file to /etc/haproxy; then, with the address that Sallyport listens at:
--
--     global
--         tune.lua.maxmem 64
--         lua-load /etc/haproxy/sallyport.lua
--     frontend panel
--         http-request lua.sallyport 127.0.0.1:9091 if !{ path_beg /.sallyport/ }
--         use_backend sallyport if { path_beg /.sallyport/ }
--         use_backend panel if { req.hdr(host),host_only -i panel.example.com }
--     backend sallyport
--         option forwardfor
--         server sallyport 127.0.0.1:9091

-- The bound on memory ends answers that have no end: without it HAProxy would die of
-- a portal that went mad.
--
-- Name the host of each panel as above, and have no default_backend: it would get
-- requests for other hosts, and Sallyport answers for the host that was asked for.

-- What belongs to the client's connection, or is written anew below.
local kept_back = {
  ["host"] = true, ["connection"] = true, ["upgrade"] = true, ["te"] = true, ["trailer"] = true,
  ["keep-alive"] = true, ["transfer-encoding"] = true, ["content-length"] = true, ["expect"] = true,
  ["x-forwarded-method"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
}

-- What the panel gets of the answer, and never of the client. Authorization is the
-- client's own there, but for machine passes.
local told = { "Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Authorization", "Sallyport-Pass" }

-- An answer that takes longer is none: the panel stays closed.
local timeout_ms = 10000

local function answer(txn, status, headers, body)
  local reply = txn:reply({ status = status })
  for name, values in pairs(headers) do
    -- The length is HAProxy's to say.
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
  -- Behind what proxies before this one said.
  local hops = headers["x-forwarded-for"] or {}
  hops[#hops + 1] = txn.sf:src()
  headers["x-forwarded-for"] = hops
  headers["host"] = { "sallyport" }
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-host"] = { txn.sf:req_hdr("host") }
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
  for _, name in ipairs(told) do
    txn.http:req_del_header(name)
    local values = said.headers[name:lower()]
    if values and values[0] and values[0] ~= "" then
      txn.http:req_set_header(name, values[0])
    end
  end
end, 1)
