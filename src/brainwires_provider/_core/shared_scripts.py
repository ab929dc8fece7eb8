"""The scripts by which a Redis or Valkey server keeps limits and budgets: each is one step, on its own clock.

Both take one JSON object and give one. Lists go as texts of numbers, because an empty list has no form of its own in
the server's JSON.
"""

from __future__ import annotations

__all__ = ["BUDGET", "LIMITS"]

LIMITS = """
local use, queue, owners, held, news = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, width = ask.window, ask.width
local KINDS = {'requests', 'input', 'output', 'tokens'}
local mine = ask.owner .. ':'

local state = {}
local flat = redis.call('HGETALL', use)
for i = 1, #flat, 2 do state[flat[i]] = flat[i + 1] end
local function number(name) return tonumber(state[name] or 0) end
local function set(name, value)
  value = type(value) == 'number' and string.format('%.0f', value) or value
  state[name] = value
  redis.call('HSET', use, name, value)
end
local function numbers(text)
  local found = {}
  for each in string.gmatch(text, '-?%d+') do found[#found + 1] = tonumber(each) end
  return found
end
local function expire()
  local ttl = 2 * window + ask.patience
  for _, kind in ipairs(KINDS) do ttl = math.max(ttl, number('elsewhere_until:' .. kind) - now) end
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl) end
end

-- A clock that was set back goes on from where it was: what is kept would stay for as long again.
now = now + number('ahead')
if now < number('seen') then
  set('ahead', number('ahead') + number('seen') - now)
  now = number('seen')
end
set('seen', now)

-- What was used within the window: by slices of time, each of which counts until its last moment has left the window.
local slices = {}
for name, value in pairs(state) do
  local slice = string.match(name, '^slice:(%d+)$')
  if slice then
    if (slice + 1) * width + window <= now then
      redis.call('HDEL', use, name)
    else
      slices[tonumber(slice)] = numbers(value)
    end
  end
end
local function add(slice, requests, input, output)
  if (slice + 1) * width + window <= now then return end
  local known = slices[slice] or {0, 0, 0}
  slices[slice] = {known[1] + requests, known[2] + input, known[3] + output}
  set('slice:' .. string.format('%.0f', slice), table.concat(slices[slice], ','))
end
local function amount(counts, kind)
  if kind == 'requests' then return counts[1] end
  if kind == 'input' then return counts[2] end
  if kind == 'output' then return counts[3] end
  return counts[2] + counts[3]
end
local function ours(kind)
  local total = 0
  for _, counts in pairs(slices) do total = total + amount(counts, kind) end
  return total
end

-- What else counts: used elsewhere with the same key, and what an earlier server had counted and nobody has restored.
local function lost(kind)
  if number('lost_until') <= now then return 0 end
  local before, restored = numbers(state['lost']), numbers(state['restored'] or '0,0,0')
  return math.max(0, amount(before, kind) - amount(restored, kind))
end
local function elsewhere(kind)
  return number('elsewhere_until:' .. kind) > now and number('elsewhere:' .. kind) or 0
end
local function used(kind) return ours(kind) + lost(kind) + elsewhere(kind) end
local function limit(kind)
  return ask.limits[kind] or (ask.learns and tonumber(state['limit:' .. kind] or nil)) or nil
end
local function free_at(kind, wanted)
  local most = limit(kind)
  if not most then return now end
  local missing = used(kind) + math.min(wanted, most) - most
  if missing <= 0 then return now end
  local ends = {{number('lost_until'), lost(kind)}, {number('elsewhere_until:' .. kind), elsewhere(kind)}}
  for slice, counts in pairs(slices) do ends[#ends + 1] = {(slice + 1) * width + window, amount(counts, kind)} end
  table.sort(ends, function(a, b) return a[1] < b[1] end)
  local free = now
  for _, each in ipairs(ends) do
    if missing <= 0 then break end
    missing = missing - each[2]
    if each[2] > 0 then free = math.max(free, each[1]) end
  end
  return free
end

-- Who is there. An owner that has not been heard of for too long has died: its places are given back.
local is_new = not redis.call('ZSCORE', owners, ask.owner)
local function forget(owner)
  local prefix = owner .. ':'
  redis.call('ZREM', owners, owner)
  redis.call('HDEL', use, 'said:' .. owner)
  for _, key in ipairs({held, news}) do
    for _, name in ipairs(redis.call('HKEYS', key)) do
      if string.sub(name, 1, #prefix) == prefix then redis.call('HDEL', key, name) end
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    if string.sub(name, 1, #prefix) == prefix then redis.call('ZREM', queue, name) end
  end
end
local silent = redis.call('ZRANGEBYSCORE', owners, '-inf', now - ask.patience)
local heard = ask.full and redis.call('ZRANGE', owners, 0, -1, 'WITHSCORES') or {}
local was_away = #silent == redis.call('ZCARD', owners)  -- the server: nobody was heard of
for _, owner in ipairs(silent) do
  if was_away then
    redis.call('ZADD', owners, now - ask.patience + ask.grace, owner)
  elseif owner ~= ask.owner then
    forget(owner)
  end
end

local epoch = state['epoch']
if not epoch then
  epoch = time[1] .. '.' .. time[2] .. '.' .. ask.owner
  set('epoch', epoch)
end
local has_lost = ask.epoch ~= '' and ask.epoch ~= epoch
if not ask.full and (has_lost or (is_new and ask.epoch ~= '')) then
  expire()
  return cjson.encode({lost = true})
end
if ask.number <= number('said:' .. ask.owner) then
  return cjson.encode({lost = true})  -- it was overtaken by a later one
end
set('said:' .. ask.owner, ask.number)
redis.call('ZADD', owners, now, ask.owner)

-- After a loss, or a time apart: what this owner has used and holds.
if ask.full then
  local restored = numbers(state['restored'] or '0,0,0')
  local is_live, apart = false, -1
  for age, requests, input, output, known in
    string.gmatch(ask.own, '(%d+),(%d+),(%d+),(%d+),(%d)')
  do
    if known == '0' then apart = math.max(apart, tonumber(age)) end
    if tonumber(age) < window and (has_lost or known == '0') then
      add(math.floor((now - age) / width), requests, input, output)
      if known == '1' then restored = {restored[1] + requests, restored[2] + input, restored[3] + output} end
      is_live = true
    end
  end
  if has_lost then
    set('restored', table.concat(restored, ','))
    local before, ending = numbers(ask.used), now - ask.used_age + window
    if ending > now then
      local known = numbers(state['lost'] or '0,0,0')
      for i = 1, 3 do before[i] = math.max(before[i], known[i]) end
      set('lost', table.concat(before, ','))
      set('lost_until', math.max(number('lost_until'), ending))
      is_live = true
    end
    if is_live and not state['grace_until'] then set('grace_until', now + ask.grace) end
  end
  for n, age, input, output in string.gmatch(ask.holding, '(%d+),(%d+),(%d+),(%d+)') do
    if not redis.call('HGET', held, mine .. n) then
      apart = math.max(apart, tonumber(age))
      local slice = math.floor((now - age) / width)
      redis.call('HSET', held, mine .. n, string.format('%.0f,%s,%s', slice, input, output))
    end
  end
  -- It was granted something without the server: others who were not heard of since may have been, too.
  for i = 1, #heard, 2 do
    local is_there = heard[i] ~= ask.owner and redis.call('ZSCORE', owners, heard[i])
    if apart >= 0 and is_there and tonumber(heard[i + 1]) < now - apart and number('grace_until') <= now then
      set('grace_until', now + ask.grace)
    end
  end
end

-- Places that are given back, with what was used; and waiters that have left.
local function finish(name, requests, input, output)
  local place = redis.call('HGET', held, name)
  if not place then return end
  redis.call('HDEL', held, name)
  redis.call('HDEL', news, name)
  if requests then
    place = numbers(place)
    if slices[place[1]] then
      add(place[1], requests - 1, input - place[2], output - place[3])
    end
  end
end
for n, rest in string.gmatch(ask.ends, '(%d+)([,%d]*)') do
  local counts = numbers(rest)
  finish(mine .. n, counts[1], counts[2], counts[3])
end
for n, input, output in string.gmatch(ask.left, '(%d+),(%d+),(%d+)') do
  redis.call('ZREM', queue, mine .. n .. ':' .. input .. ':' .. output)
  finish(mine .. n, 0, 0, 0)
end

-- What the provider states: its limits, and what it counts besides.
if ask.learns then
  for kind, stated in pairs(ask.stated) do
    if not ask.limits[kind] then set('limit:' .. kind, stated.limit) end
    if stated.remaining then
      local others = stated.limit - stated.remaining - ours(kind)
      if others > elsewhere(kind) then
        set('elsewhere:' .. kind, others)
        set('elsewhere_until:' .. kind, now + (stated.reset or window))
      end
    end
  end
end

-- Who asks is last; whose turn it is, is first, whoever asks.
for n, input, output in string.gmatch(ask.enter, '(%d+),(%d+),(%d+)') do
  if redis.call('HGET', held, mine .. n) then
    redis.call('HSET', news, mine .. n, 1)
  else
    local name = mine .. n .. ':' .. input .. ':' .. output
    if not redis.call('ZSCORE', queue, name) then
      redis.call('ZADD', queue, redis.call('HINCRBY', use, 'turn', 1), name)
    end
  end
end
local wait, running = -1, redis.call('HLEN', held)
local granting = number('grace_until') <= now
while true do
  local head = redis.call('ZRANGE', queue, 0, 0)[1]
  if not head then break end
  if not granting then
    wait = number('grace_until') - now
    break
  end
  if ask.most and running >= ask.most then
    wait = 0
    break
  end
  local owner, n, input, output = string.match(head, '^(%w+):(%d+):(%d+):(%d+)$')
  local counts, due = {1, tonumber(input), tonumber(output)}, now
  for _, kind in ipairs(KINDS) do due = math.max(due, free_at(kind, amount(counts, kind))) end
  if due > now then
    wait = due - now
    break
  end
  local slice = math.floor(now / width)
  redis.call('ZREM', queue, head)
  add(slice, 1, counts[2], counts[3])
  redis.call('HSET', held, owner .. ':' .. n, string.format('%.0f,%s,%s', slice, input, output))
  redis.call('HSET', news, owner .. ':' .. n, 1)
  running = running + 1
end

-- An owner may hear of a place some time after it was granted, and uses it from then on: it counts from then on.
local granted, this_slice = {}, math.floor(now / width)
for _, name in ipairs(redis.call('HKEYS', news)) do
  if string.sub(name, 1, #mine) == mine then
    granted[#granted + 1] = string.sub(name, #mine + 1)
    redis.call('HDEL', news, name)
    local place = numbers(redis.call('HGET', held, name) or '')
    if place[1] and place[1] < this_slice and slices[place[1]] then
      add(place[1], -1, -place[2], -place[3])
      add(this_slice, 1, place[2], place[3])
      redis.call('HSET', held, name, string.format('%.0f,%.0f,%.0f', this_slice, place[2], place[3]))
    end
  end
end
local uses, limits = {}, {}
for i, kind in ipairs(KINDS) do
  uses[i] = string.format('%.0f', used(kind))
  if not ask.limits[kind] and limit(kind) then limits[#limits + 1] = kind .. '=' .. limit(kind) end
end
local is_over = ask.bye
if is_over then forget(ask.owner) end
expire()
return cjson.encode({
  lost = false, epoch = epoch, granted = table.concat(granted, ','), wait = wait,
  owners = redis.call('ZCARD', owners), running = running, waiting = redis.call('ZCARD', queue),
  used = table.concat(uses, ','), limits = table.concat(limits, ',')
})
"""

BUDGET = """
local account, open, gone = KEYS[1], KEYS[2], KEYS[3]
local ask = cjson.decode(ARGV[1])
local function get(name) return tonumber(redis.call('HGET', account, name) or 0) end
local function add(name, value)
  if value ~= 0 then redis.call('HINCRBY', account, name, string.format('%.0f', value)) end  -- not -0
end
local function numbers(text)
  local found = {}
  for each in string.gmatch(text, '-?%d+') do found[#found + 1] = tonumber(each) end
  return found
end

local epoch = redis.call('HGET', account, 'epoch')
if not epoch then
  local time = redis.call('TIME')
  epoch = time[1] .. '.' .. time[2] .. '.' .. ask.owner
  redis.call('HSET', account, 'epoch', epoch)
end
local function hold(id, usd, tokens)
  if redis.call('HSETNX', open, id, string.format('%.0f,%.0f', usd, tokens)) == 1 then
    add('reserved_usd', usd)
    add('reserved_tokens', tokens)
  end
end

-- After the server has lost what it knew: what was spent at least, and what is reserved by this owner.
if ask.epoch ~= '' and ask.epoch ~= epoch then
  for i, kind in ipairs({'usd', 'tokens'}) do
    local known = numbers(ask.spent)[i]
    if known > get('before_' .. kind) then
      redis.call('HSET', account, 'before_' .. kind, string.format('%.0f', known))
    end
  end
  for id, usd, tokens in string.gmatch(ask.open, '(%w+),(%d+),(%d+)') do hold(id, tonumber(usd), tonumber(tokens)) end
end

for id, rest in string.gmatch(ask.ends, '(%w+):([-%d,]*)') do
  local place = redis.call('HGET', open, id)
  if place then
    place = numbers(place)
    local spent = numbers(rest)
    redis.call('HDEL', open, id)
    add('reserved_usd', -place[1])
    add('reserved_tokens', -place[2])
    add('spent_usd', spent[1])
    add('spent_tokens', spent[2])
  elseif numbers(rest)[3] then  -- nobody knows whether it was reserved: if that is still on its way, it comes too late
    redis.call('HSET', gone, id, 1)
    if redis.call('PTTL', gone) < 0 then redis.call('PEXPIRE', gone, 3600000) end
  end
end

local spent_usd, spent_tokens = get('before_usd') + get('spent_usd'), get('before_tokens') + get('spent_tokens')
local shorts = {}
for i, each in ipairs(ask.asks) do
  shorts[i] = 'ok'
  if redis.call('HGET', open, each.id) or redis.call('HGET', gone, each.id) then
    -- it was heard before
  elseif each.most_usd and spent_usd + get('reserved_usd') + each.usd > each.most_usd then
    shorts[i] = 'usd'
  elseif each.most_tokens and spent_tokens + get('reserved_tokens') + each.tokens > each.most_tokens then
    shorts[i] = 'tokens'
  else
    hold(each.id, each.usd, each.tokens)
  end
end
return cjson.encode({
  epoch = epoch, shorts = table.concat(shorts, ','), spent = string.format('%.0f,%.0f', spent_usd, spent_tokens),
  reserved = string.format('%.0f,%.0f', get('reserved_usd'), get('reserved_tokens'))
})
"""
