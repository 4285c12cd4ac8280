// Two ways to draw the points, with one face: WebGL, and writing pixels where there is no graphics card.

const SHAPES = 4; // circle, square, diamond, triangle

const VERTEX = `attribute vec2 place; attribute vec4 look; attribute float shape;
uniform vec2 middle; uniform vec2 scale; uniform mediump float size; varying vec4 colour; varying float form;
void main() {
  gl_Position = look.a == 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4((place - middle) * scale, 0.0, 1.0);
  gl_PointSize = size; colour = look; form = shape;
}`;
const FRAGMENT = `precision mediump float; varying vec4 colour; varying float form; uniform float size; uniform vec3 edge;
void main() {
  vec2 p = (gl_PointCoord - 0.5) * 2.0; vec2 a = abs(p);
  float d = form < 0.5 ? length(p) * 1.08 : form < 1.5 ? max(a.x, a.y) * 1.2 : form < 2.5 ? a.x + a.y
    : max(p.y - 0.15, 0.866 * a.x - 0.5 * (p.y - 0.15)) * 1.75;
  float soft = 2.0 / size;
  float cover = clamp((1.0 - d) / soft + 0.5, 0.0, 1.0);
  if (cover <= 0.0) discard;
  float rim = size > 9.0 ? clamp((d - 1.0 + 3.0 / size) / soft, 0.0, 0.55) : 0.0;
  gl_FragColor = vec4(mix(colour.rgb, edge, rim), colour.a * cover);
}`;

class GlPainter {
  constructor(canvas) {
    // A card that only pretends to be one is slower than writing pixels.
    const wanted = { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: true };
    const gl = this.gl = canvas.getContext("webgl2", wanted);
    if (!gl) throw new Error("no WebGL");
    const about = gl.getExtension("WEBGL_debug_renderer_info");
    const card = about ? String(gl.getParameter(about.UNMASKED_RENDERER_WEBGL)) : "";
    if (/swiftshader|llvmpipe|softpipe|software|basic render/i.test(card)) throw new Error(card);
    this.name = "WebGL";
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ["place", "look", "shape"].forEach((name, at) => gl.bindAttribLocation(program, at, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "no shader");
    gl.useProgram(program);
    this.at = Object.fromEntries(["middle", "scale", "size", "edge"].map(name => [name, gl.getUniformLocation(program, name)]));
    this.buffers = [[2, gl.FLOAT, false], [4, gl.UNSIGNED_BYTE, true], [1, gl.UNSIGNED_BYTE, false]].map(([width, kind, unit], at) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, width, kind, unit, 0, 0);
      return buffer;
    });
    this.order = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.order);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE);
    this.most = gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)[1];
  }
  fill(at, values) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[at]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  }
  setPlaces(xy) { this.fill(0, xy); }
  setLooks(rgba, shapes, order) {
    this.fill(1, rgba);
    this.fill(2, shapes);
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, order, this.gl.DYNAMIC_DRAW);
  }
  paint(view, radius, ground) {
    const gl = this.gl, ratio = gl.canvas.width / view.width;
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    gl.clearColor(ground[0] / 255, ground[1] / 255, ground[2] / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.at.middle, view.x, view.y);
    gl.uniform2f(this.at.scale, 2 * view.scale / view.width, 2 * view.scale / view.height);
    gl.uniform1f(this.at.size, Math.min(this.most, 2 * radius * ratio));
    gl.uniform3f(this.at.edge, ground[0] / 255, ground[1] / 255, ground[2] / 255);
    gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 0);
  }
}

class PixelPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    if (!this.context) throw new Error("no canvas");
    this.name = "Canvas";
  }
  setPlaces(xy) { this.xy = xy; }
  setLooks(rgba, shapes, order) { this.rgba = rgba; this.shapes = shapes; this.order = order; }
  // How much of each pixel of a square around a point every shape covers, 0 to 255.
  stamps(radius) {
    if (this.radius === radius) return this.covers;
    const half = this.half = Math.ceil(radius), side = 2 * half + 1;
    this.radius = radius;
    this.covers = [...Array(SHAPES).keys()].map(form => {
      const cover = new Uint8Array(side * side);
      for (let y = -half; y <= half; y++) for (let x = -half; x <= half; x++) {
        const px = x / radius, py = y / radius, ax = Math.abs(px), ay = Math.abs(py);
        const d = form === 0 ? Math.hypot(px, py) * 1.1 : form === 1 ? Math.max(ax, ay) * 1.15 : form === 2 ? ax + ay
          : Math.max(py - 0.15, 0.866 * ax - 0.5 * (py - 0.15)) * 1.75;
        cover[(y + half) * side + x + half] = 255 * Math.max(0, Math.min(1, (1 - d) * radius + 0.5));
      }
      return cover;
    });
    return this.covers;
  }
  paint(view, radius, ground) {
    const { width, height } = this.canvas, ratio = width / view.width;
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const words = this.words, covers = this.stamps(radius * ratio), half = this.half, side = 2 * half + 1;
    words.fill((255 << 24 | ground[2] << 16 | ground[1] << 8 | ground[0]) >>> 0);
    const { xy, rgba, shapes, order } = this, scale = view.scale * ratio;
    for (let at = 0; at < count; at++) {
      const i = order[at], alpha = rgba[4 * i + 3];
      if (!alpha) continue;
      const x = Math.round((xy[2 * i] - view.x) * scale + width / 2) - half;
      const y = Math.round((view.y - xy[2 * i + 1]) * scale + height / 2) - half;
      if (x < 0 || y < 0 || x + side > width || y + side > height) continue;
      const red = rgba[4 * i], green = rgba[4 * i + 1], blue = rgba[4 * i + 2], cover = covers[shapes[i]];
      const whole = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
      for (let row = 0, c = 0; row < side; row++) {
        let to = (y + row) * width + x;
        for (let column = 0; column < side; column++, to++, c++) {
          const share = cover[c] * alpha;
          if (share === 65025) words[to] = whole;
          else if (share) {
            const a = share / 65025, old = words[to];
            words[to] = (255 << 24 | (((old >> 16) & 255) * (1 - a) + blue * a) << 16
              | (((old >> 8) & 255) * (1 - a) + green * a) << 8 | ((old & 255) * (1 - a) + red * a)) >>> 0;
          }
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

function painterFor(canvas) {
  try {
    return new GlPainter(canvas);
  } catch (error) {
    const other = canvas.cloneNode(); // a canvas keeps the first kind of context that it was asked for
    canvas.replaceWith(other);
    return new PixelPainter(other);
  }
}

// A small picture of a class: its shape in its colour.
function swatch(canvas, colour, form) {
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d");
  pen.fillStyle = colour;
  pen.beginPath();
  if (form === 0) pen.arc(16, 16, 11, 0, 2 * Math.PI);
  else if (form === 1) pen.rect(6, 6, 20, 20);
  else if (form === 2) [[16, 2], [30, 16], [16, 30], [2, 16]].forEach(each => pen.lineTo(...each));
  else [[16, 4], [29, 27], [3, 27]].forEach(each => pen.lineTo(...each));
  pen.fill();
}
