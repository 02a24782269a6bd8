// The formula of geometry/effects/relight.py and shadows.py for the graphics card; shadows are marched at half the preview's size.

/** How many lamps are marched at once: their shadows are the four channels of a texture. */
export const LAMPS_AT_ONCE = 4
/** The shadows' map is smaller than the preview by this factor. */
export const SHADOW_SCALE = 2

/** One triangle over everything. */
export const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(corner, 0.0, 1.0);
}`

const DEPTH = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform sampler2D inverseDepth;
uniform ivec2 size;
uniform ivec2 smallSize;
uniform int coarse;

float inverseAt(ivec2 pixel) {
  return texelFetch(inverseDepth, clamp(pixel, ivec2(0), size - 1), 0).r;
}

// The pixel of the preview that a pixel of the shadows' map stands for.
ivec2 largeOf(ivec2 small) {
  return ivec2((vec2(small) + 0.5) * vec2(size) / vec2(smallSize));
}

// 1 where inverse depth is what a surface has there, down to 0 where it is another's. Of closer tolerance than same_surface of
// geometry/surfaces/upsampling.py, 0.15, as the map's pixels are only two of the preview apart: on a photo both are as near to relight.py.
float belongs(float found, float expected) {
  float off = (found / expected - 1.0) / 0.05;
  return max(0.0, 1.0 - off * off);
}
`

// Of `count` lamps, a multiple of four.
const lampsOf = count => `
uniform vec4 camera;
uniform int lamps;
uniform vec4 place[${count}];
uniform vec4 diameters[${count / 4}];
const vec3 OPENGL = vec3(1.0, -1.0, -1.0);

vec3 pointAt(vec2 pixel, float inverse) {
  return OPENGL * vec3((pixel - camera.zw) / camera.xy, 1.0) / inverse;
}
`

/** How hidden each lamp is. */
export const SHADOW = `${DEPTH}${lampsOf(LAMPS_AT_ONCE)}
uniform sampler2D flags;
uniform float farthest;
out vec4 hidden;
const float ORDER[16] = float[16](0., 8., 2., 10., 12., 4., 14., 6., 3., 11., 1., 9., 15., 7., 13., 5.);

// A place within a disk of radius 1 that faces the way, another one for each pixel of a square of 4 x 4.
vec3 across(vec3 way, ivec2 small) {
  vec3 w = normalize(way);
  float side = w.z < 0.0 ? -1.0 : 1.0, a = -1.0 / (side + w.z), b = w.x * w.y * a;
  float number = ORDER[(small.y & 3) * 4 + (small.x & 3)], angle = number * 2.399963;
  vec3 right = vec3(1.0 + side * w.x * w.x * a, side * b, -side * w.x), up = vec3(b, side + w.y * w.y * a, -w.y);
  return sqrt((number + 0.5) / 16.0) * (cos(angle) * right + sin(angle) * up);
}

float inside(float start, float way, float extent) {
  return min(1.0, (way > 0.0 ? extent - 1.0 - start : start) / max(abs(way), 1e-6));
}

float covered(vec4 place, float diameter, ivec2 small, vec2 start, float inverse) {
  vec3 point = OPENGL * pointAt(start, inverse), lamp = OPENGL * place.xyz;
  vec3 way = place.w == 0.0 ? normalize(lamp) : lamp - point;
  if (diameter > 0.0) way += 0.5 * diameter * across(way, small);
  float reach = max(length(way), 1e-12);
  way /= reach;
  if (place.w == 0.0) reach = way.z > 1e-6 ? (farthest - 1.0 / inverse) / way.z : 1.0 / inverse;
  reach = min(reach, 0.95 / inverse / max(-way.z, 1e-6));
  vec3 end = point + reach * way;
  vec2 path = camera.xy * end.xy / end.z + camera.zw - start, extent = vec2(size);
  float kept = min(inside(start.x, path.x, extent.x), inside(start.y, path.y, extent.y));
  path *= kept;
  float climb = (1.0 / end.z - inverse) * kept, darkest = 0.0;
  int steps = int(clamp(ceil(max(abs(path.x), abs(path.y)) / float(3 * coarse)), 1.0, 64.0));
  // Rays of a square differ in length by up to four steps: shadows end in lines, not in combs.
  float stagger = 1.0 - ORDER[(small.y & 3) * 4 + (small.x & 3)] / (4.0 * float(max(steps, 8)));
  path *= stagger;
  climb *= stagger;
  float before = 0.0;
  for (int step = 1; step <= steps; step++) {
    float share = float(step) / float(steps);
    share *= sqrt(share);
    vec2 pixel = floor(start + share * path + 0.5);
    float ray = inverse + share * climb, behind = inverseAt(ivec2(pixel)) / ray - 1.01;
    float leap = 0.5 * (share - before) * abs(climb) / ray;
    before = share;
    if (behind <= 0.0 || behind >= 0.3 + 2.0 * leap) continue;
    float thickness = 0.6071 * texelFetch(flags, clamp(ivec2(pixel), ivec2(0), size - 1), 0).g, halved = thickness + leap;
    float inner = (halved - abs(behind - halved)) / min(0.01 + 0.04 * share * kept, 0.25 * halved);
    vec2 middle = abs((2.0 * pixel + 1.0) / extent - 1.0);
    darkest = max(darkest, clamp((1.0 - max(middle.x, middle.y)) / 0.1, 0.0, 1.0) * clamp(inner, 0.0, 1.0));
    if (darkest >= 1.0) break;
  }
  return darkest;
}

void main() {
  ivec2 small = ivec2(gl_FragCoord.xy), large = largeOf(small);
  float inverse = inverseAt(large);
  vec4 found = vec4(0.0);
  for (int i = 0; i < lamps; i++) found[i] = covered(place[i], diameters[0][i], small, vec2(large), inverse);
  hidden = found;
}`

/** Means along an axis, of pixels of the same surface. */
export const SMOOTH = `${DEPTH}
uniform sampler2D shadow;
uniform ivec2 axis;
out vec4 hidden;

void main() {
  ivec2 small = ivec2(gl_FragCoord.xy), last = smallSize - 1;
  float inverse = inverseAt(largeOf(small));
  float before = inverse - inverseAt(largeOf(small - axis)), after = inverseAt(largeOf(small + axis)) - inverse;
  float slope = abs(before) < abs(after) ? before : after, weights = 0.0;
  vec4 total = vec4(0.0);
  for (int aside = -3; aside <= 3; aside++) {
    ivec2 other = clamp(small + aside * axis, ivec2(0), last);
    float same = float(4 - abs(aside)) * belongs(inverseAt(largeOf(other)) - float(aside) * slope, inverse);
    total += same * texelFetch(shadow, other, 0);
    weights += same;
  }
  hidden = total / weights;
}`

/** The lit image. @param {number} count How many lamps at most, a multiple of `LAMPS_AT_ONCE`. @returns {string} */
export const shadeOf = count => `${DEPTH}${lampsOf(count)}
precision highp sampler2DArray;
uniform sampler2D image, normals, flags;
uniform sampler2DArray shadows;
// Red, green and blue, and how dark its shadows are.
uniform vec4 colour[${count}];
uniform vec3 above, below;
uniform float ambient, specular, shininess, exposure;
uniform bool rolled;
out vec4 result;

vec3 linear(vec3 coded) {
  return mix(pow((coded + 0.055) / 1.055, vec3(2.4)), coded / 12.92, lessThanEqual(coded, vec3(0.04045)));
}

vec3 coded(vec3 light) {
  return mix(1.055 * pow(max(light, 0.0031308), vec3(1.0 / 2.4)) - 0.055, light * 12.92, lessThanEqual(light, vec3(0.0031308)));
}

float largest(vec3 light) {
  return max(light.r, max(light.g, light.b));
}

float shoulder(float light, float knee) {
  float room = 1.0 - knee, beyond = max(light - knee, 0.0);
  return min(light, knee) + beyond * room / max(room + beyond, 1e-9);
}

vec3 rolledOff(vec3 lit, vec3 base) {
  float most = largest(lit), least = -largest(-lit), knee = clamp(largest(base), 0.6, 1.0);
  float high = shoulder(most, knee), span = most - least;
  float slope = span > 1e-6 * most ? (high - shoulder(least, knee)) / max(span, 1e-12) : 1.0;
  return 0.5 * (high + (lit - most) * slope + vec3(shoulder(lit.r, knee), shoulder(lit.g, knee), shoulder(lit.b, knee)));
}

// A layer of the shadows' map at this pixel: of the four values around it, those of the same surface.
vec4 hiddenAt(ivec2 pixel, float inverse, int layer) {
  vec2 at = (vec2(pixel) + 0.5) * vec2(smallSize) / vec2(size) - 0.5;
  ivec2 corner = ivec2(floor(at)), last = smallSize - 1;
  vec2 share = at - floor(at);
  vec4 total = vec4(0.0);
  float weights = 0.0;
  for (int i = 0; i < 4; i++) {
    ivec2 small = clamp(corner + ivec2(i & 1, i >> 1), ivec2(0), last);
    vec2 near = mix(1.0 - share, share, vec2(float(i & 1), float(i >> 1)));
    float weight = near.x * near.y * (belongs(inverseAt(largeOf(small)), inverse) + 1e-3);
    total += weight * texelFetch(shadows, ivec3(small, layer), 0);
    weights += weight;
  }
  return total / weights;
}

float receivedShare(float cosine, float radius, float squared) {
  if (radius == 0.0) return max(cosine, 0.0);
  float sine = radius * inversesqrt(squared + radius * radius), above = max(cosine + sine, 0.0), low = min(above, 2.0 * sine);
  return low * low / max(4.0 * sine, 1e-12) + above - low;
}

void main() {
  ivec2 pixel = min(coarse * ivec2(gl_FragCoord.x, (size.y + coarse - 1) / coarse - 1 - int(gl_FragCoord.y)) + coarse / 2, size - 1);
  vec3 shown = texelFetch(image, pixel, 0).rgb;
  int bits = int(texelFetch(flags, pixel, 0).r * 255.0 + 0.5);
  float inverse = inverseAt(pixel);
  vec3 point = pointAt(vec2(pixel), inverse), normal = texelFetch(normals, pixel, 0).rgb * 2.0 - 1.0;
  // Where highlights are not to be trusted, normals are shorter, down to a half; the sky has none.
  float gloss = (bits & 2) == 0 ? specular * clamp(2.0 * length(normal) - 1.0, 0.0, 1.0) : 0.0;
  normal = normalize(normal);
  vec3 base = linear(shown), diffuse = ambient * mix(below, above, (1.0 + normal.y) / 2.0), mirrored = vec3(0.0);
  vec4 hidden = vec4(0.0);
  for (int i = 0; i < lamps; i++) {
    if ((i & 3) == 0 && (bits & 2) == 0) hidden = hiddenAt(pixel, inverse, i >> 2);
    float diameter = diameters[i >> 2][i & 3];
    vec3 way = place[i].w == 0.0 ? place[i].xyz : place[i].xyz - point;
    float squared = max(dot(way, way), 0.0025), radius = 0.5 * diameter;
    way *= inversesqrt(squared);
    float strength = place[i].w == 0.0 ? 1.0 : 1.0 / (squared + radius * radius);
    vec3 received = receivedShare(dot(normal, way), radius, place[i].w == 0.0 ? 1.0 : squared) * strength * (1.0 - colour[i].a * hidden[i & 3]) * colour[i].rgb;
    diffuse += (1.0 - gloss) * received;
    if (gloss > 0.0) {
      float lobe = 1.0 / (1.0 / shininess + diameter * diameter / 64.0 / (place[i].w == 0.0 ? 1.0 : squared));
      float factor = (lobe + 2.0) * (lobe + 4.0) / (8.0 * (exp2(-lobe / 2.0) + lobe));
      mirrored += gloss * factor * pow(max(dot(normal, normalize(way - normalize(point))), 0.0), lobe) * received;
    }
  }
  vec3 lit = exp2(exposure) * (base * diffuse + mirrored);
  if (rolled) lit = rolledOff(lit, base);
  result = vec4((bits & 1) == 0 ? shown : coded(clamp(lit, 0.0, 1.0)), 1.0);
}`
