"use strict";

const $ = (id) => document.getElementById(id);
const url = location.origin.replace(/^http/, "ws") + "/chat";

// How long to wait before connecting again: twice as long each time, up to a
// limit, and never just as long as the other tabs, or they would all come back
// at the same moment.
const firstDelay = 500, longestDelay = 15_000;
let attempts = 0;
let retry; // the timer that connects again

let socket;
let me = "";
const people = new Set();
const shown = new Set(); // ids of messages: a welcome repeats the latest

function connect() {
  clearTimeout(retry);
  state("connecting", "connecting");
  socket = new WebSocket(url + "?name=" + encodeURIComponent($("name").value));
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = ({ code }) => {
    const delay = Math.min(longestDelay, firstDelay * 2 ** attempts++) * (0.5 + Math.random() / 2);
    state("closed", `closed ${code}${meaning(code)}, again in ${(delay / 1000).toFixed(1)} s`);
    if (people.size > 0) note(`Connection closed: ${code}${meaning(code)}`);
    people.clear();
    showPeople();
    retry = setTimeout(connect, delay);
  };
}

function meaning(code) {
  switch (code) {
    case 1001: return " (server is going away)";
    case 1013: return " (room is full)";
    case 1006: return attempts > 1 ? " (no server)" : " (connection lost)";
    default: return "";
  }
}

// Who comes back to the tab, or to the network, does not want to wait.
function hurry() {
  if (me && document.visibilityState === "visible" && socket.readyState === WebSocket.CLOSED) connect();
}
addEventListener("online", hurry);
document.addEventListener("visibilitychange", hurry);

function receive(e) {
  switch (e.event) {
    case "welcome":
      attempts = 0;
      me = e.name;
      people.clear();
      e.people.forEach((name) => people.add(name));
      e.messages?.forEach(said);
      note(`You are ${me}`);
      state("open", "connected");
      break;
    case "joined":
      people.add(e.name);
      note(`${e.name} joined`);
      break;
    case "left":
      people.delete(e.name);
      note(`${e.name} left`);
      break;
    case "said":
      said(e);
      return;
  }
  showPeople();
}

// What others have typed only ever becomes text, never HTML.

function said({ id, name, text, at }) {
  if (shown.has(id)) return;
  shown.add(id);
  const who = document.createElement("small");
  who.textContent = `${name}, ${new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  show(name === me ? "said mine" : "said", who, text);
}

function note(text) {
  show("note", text);
}

function show(kind, ...content) {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = document.createElement("li");
  item.className = kind;
  item.append(...content);
  list.append(item);
  while (list.children.length > 500) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function showPeople() {
  $("people").replaceChildren(...[...people].map((name) => {
    const item = document.createElement("li");
    item.textContent = name;
    if (name === me) item.className = "me";
    return item;
  }));
}

function state(kind, text) {
  $("state").className = kind;
  $("state").textContent = text;
  $("send").disabled = kind !== "open";
}

$("join").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("name", $("name").value);
  $("join").hidden = true;
  $("room").hidden = false;
  connect();
  $("text").focus();
};

$("say").onsubmit = (event) => {
  event.preventDefault();
  if ($("send").disabled) return; // what was typed waits with the one who did
  if ($("text").value.trim()) socket.send($("text").value);
  $("text").value = "";
};

// A tab that is loaded again knows its name.
if (sessionStorage.getItem("name")) {
  $("name").value = sessionStorage.getItem("name");
  $("join").requestSubmit();
}
