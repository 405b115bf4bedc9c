// The connection to the session: JSON both ways, pictures as binary messages, and coming back.

const KEPT = "dreamenv-session";
const FINAL = new Set([4400, 4401, 4409, 4410, 4429, 4500]); // a reason, and no use in coming back at once

/** Parse a binary message: uint32 length of a JSON header, the header, its parts. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let start = 4 + length;
  const parts = header.sizes.map((size) => {
    const part = new Uint8Array(buffer, start, size);
    start += size;
    return part;
  });
  return [header, parts];
}

export class Wire {
  /** `on` maps types of messages to functions of (message, parts); `status` tells how it stands. */
  constructor(on, status) {
    this.on = on;
    this.status = status;
    this.pause = 500;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = (this.socket = new WebSocket(`${scheme}://${location.host}/session`));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.say("hello", { resume: sessionStorage.getItem(KEPT) });
    };
    socket.onmessage = (event) => {
      const [message, parts] =
        typeof event.data === "string" ? [JSON.parse(event.data), []] : unpack(event.data);
      if (message.type === "welcome") {
        this.pause = 500;
        sessionStorage.setItem(KEPT, message.session);
      }
      this.on[message.type]?.(message, parts);
    };
    socket.onclose = (event) => {
      if (FINAL.has(event.code)) {
        if (event.code !== 4409) sessionStorage.removeItem(KEPT);
        this.status("bad", "ended", event.reason);
        return;
      }
      this.status("bad", "reconnecting", event.reason);
      setTimeout(() => this.connect(), this.pause);
      this.pause = Math.min(8000, this.pause * 2);
    };
  }

  say(type, fields = {}) {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type, ...fields }));
    }
  }
}
