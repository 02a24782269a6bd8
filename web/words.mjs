// Texts of the pack's scripts in the page's language: English where a translation is missing.

import { language } from './language.mjs'

/** Translations by the English text. {0} and {1} are placeholders. */
export const WORDS = {
  'Run once, then drag the light here.': { zh: '先运行一次，然后在此拖动光源。', ja: '一度実行してから、ここでライトをドラッグします。' },
  'Run once, then click a point here.': { zh: '先运行一次，然后在此点击取点。', ja: '一度実行してから、ここで点をクリックします。' },
  'Run once, then click a point or drag a box here.': {
    zh: '先运行一次，然后在此点击取点或拖出一个框。',
    ja: '一度実行してから、ここで点をクリックするか、枠をドラッグします。',
  },
  'Run to see depth, normals and mask here.': { zh: '运行后在此显示深度、法线和遮罩。', ja: '実行すると、ここに深度・法線・マスクが表示されます。' },
  'Run to see the image here.': { zh: '运行后在此显示图像。', ja: '実行すると、ここに画像が表示されます。' },
  'The image cannot be loaded: {0}. Run again.': { zh: '无法加载图像：{0}。请重新运行。', ja: '画像を読み込めません: {0}。もう一度実行してください。' },
  'The image cannot be shown here: {0}': { zh: '无法在此显示图像：{0}', ja: 'ここに画像を表示できません: {0}' },
  'drag the light around the image': { zh: '围绕图像拖动光源', ja: '画像の周りでライトをドラッグ' },
  'drag the lamp; Shift or the wheel: its depth': { zh: '拖动灯光；按住 Shift 拖动或滚动滚轮：改变其深度', ja: 'ライトをドラッグ。Shift+ドラッグまたはホイール: 奥行き' },
  '{0} comes from another node': { zh: '{0} 来自另一个节点', ja: '{0}は別のノードから入力されています' },
  'This browser has no WebGL 2, so the light cannot be shown here. Run the graph to see it.': {
    zh: '此浏览器不支持 WebGL 2：无法在此显示光照。运行后可见结果。',
    ja: 'このブラウザーはWebGL 2に対応していないため、ここではライトを表示できません。実行すると結果が表示されます。',
  },
  'This browser has no WebGL 2, so there is no 3D view.': { zh: '此浏览器不支持 WebGL 2：没有 3D 视图。', ja: 'このブラウザーはWebGL 2に対応していないため、3D表示はできません。' },
  'drag: turn, Shift: move, wheel: zoom, double click: reset': {
    zh: '拖动：旋转；Shift 加拖动：平移；滚轮：拉近；双击：复位',
    ja: 'ドラッグ: 回転、Shift+ドラッグ: 移動、ホイール: 拡大、ダブルクリック: 元に戻す',
  },
  'Depth as a surface that can be turned': { zh: '以可旋转的表面显示深度', ja: '深度を回転できる面として表示' },
  'Previous image': { zh: '上一张图像', ja: '前の画像' },
  'Next image': { zh: '下一张图像', ja: '次の画像' },
  maps: { zh: '贴图', ja: 'マップ' },
  'Side by side': { zh: '并排', ja: '並べて表示' },
  Slider: { zh: '滑块对比', ja: 'スライダー比較' },
  '3D': { zh: '3D', ja: '3D' },
  Light: { zh: '光照', ja: 'ライト' },
  Image: { zh: '图像', ja: '画像' },
  Depth: { zh: '深度', ja: '深度' },
  Normals: { zh: '法线', ja: '法線' },
  Mask: { zh: '遮罩', ja: 'マスク' },
  'point at the maps to read their values': { zh: '将指针移到图上可读取数值', ja: 'マップ上にポインターを置くと値が表示されます' },
  'drag the line': { zh: '拖动分界线', ja: '境界線をドラッグ' },
  'left of the line': { zh: '分界线左侧', ja: '境界線の左側' },
  'right of the line': { zh: '分界线右侧', ja: '境界線の右側' },
  'shown on the surface': { zh: '表面上显示的内容', ja: '面に表示するマップ' },
  'the pointer is the lamp, and a click leaves it there; wheel: its distance': {
    zh: '指针就是灯光，单击可将其固定；滚轮：改变其距离',
    ja: 'ポインターがライトになり、クリックでその場に固定します。ホイール: 距離',
  },
  'This browser has no WebGL 2, so the light cannot be shown here.': {
    zh: '此浏览器不支持 WebGL 2：无法在此显示光照。',
    ja: 'このブラウザーはWebGL 2に対応していないため、ここではライトを表示できません。',
  },
  distance: { zh: '距离', ja: '距離' },
  brightness: { zh: '亮度', ja: '明るさ' },
  'rest of the light': { zh: '其余光照', ja: '残りの光' },
  shadows: { zh: '阴影', ja: '影' },
  colour: { zh: '颜色', ja: '色' },
  '{0} to {1} m': { zh: '{0} 至 {1} 米', ja: '{0}～{1} m' },
  'click sets the point': { zh: '点击取点', ja: 'クリックで点を設定' },
  'Clear the point': { zh: '清除取点', ja: '点を消去' },
  'click: a point, with Shift one more, with Alt one that is not in it, on such a point: remove it; drag: a box; Escape or double click: clear': {
    zh: '点击：取点，按住 Shift 加点，按住 Alt 加排除点，点在这些点上则去掉；拖动：画框；Esc 或双击：清除',
    ja: 'クリック: 点（Shift: 追加、Alt: 除外、その点の上では取り消し）、ドラッグ: 枠、Escまたはダブルクリック: 消去',
  },
  'Clear the points and the box': { zh: '清除取点和框', ja: '点と枠を消去' },
  'cleared; click a point or drag a box, or run to see the mask without': {
    zh: '已清除；点击一个点或拖出一个框，或直接运行以查看不带选择的遮罩',
    ja: '消去しました。点をクリックするか枠をドラッグするか、そのまま実行してください',
  },
  'box from {0}, {1} to {2}, {3}; run to see what is in it': {
    zh: '框：从 {0}, {1} 到 {2}, {3}；运行后可见其中的物体',
    ja: '枠: {0}, {1}～{2}, {3}。実行すると中の物が表示されます',
  },
  '{0} % from near to far': { zh: '由近到远的 {0}%', ja: '近→遠の {0}%' },
  'relative {0} (0 far, 100 near)': { zh: '相对深度 {0}（0 远，100 近）', ja: '相対深度 {0}（0 が遠く、100 が近い）' },
  'no depth': { zh: '无深度', ja: '深度なし' },
  'no normal': { zh: '无法线', ja: '法線なし' },
  'faces {0}, {1}': { zh: '朝向{0}、{1}', ja: '向き {0}、{1}' },
  '{0}° left': { zh: '左 {0}°', ja: '左{0}°' },
  '{0}° right': { zh: '右 {0}°', ja: '右{0}°' },
  '{0}° up': { zh: '上 {0}°', ja: '上{0}°' },
  '{0}° down': { zh: '下 {0}°', ja: '下{0}°' },
  depth: { zh: '深度', ja: '深度' },
  masked: { zh: '已遮罩', ja: 'マスク済み' },
  sky: { zh: '天空', ja: '空' },
  'upload a file': { zh: '上传文件', ja: 'ファイルをアップロード' },
  '{0} was not uploaded; the server answered: {1}': { zh: '{0} 未上传：服务器返回 {1}', ja: '{0}をアップロードできませんでした。サーバーの応答: {1}' },
  '{0} was not uploaded; accepted formats: {1}': { zh: '{0} 未上传：可接受的格式为 {1}', ja: '{0}をアップロードできませんでした。使える形式: {1}' },
  '{0} contains no depth or normals that this node can read. For a depth map use Load Image and Depth Image to Geometry.': {
    zh: '{0} 中没有此节点能读取的深度或法线。深度图像请用“加载图像”和“深度图转几何”。',
    ja: '{0}には、このノードで読み込める深度も法線もありません。深度の画像は「画像を読み込む」と「深度マップをジオメトリに変換」で読み込みます。',
  },
  '(from file)': { zh: '（来自文件）', ja: '（ファイルから）' },
  '(choose a file)': { zh: '（请选择文件）', ja: '（ファイルを選択）' },
  'Depth & Normals': { zh: '深度与法线', ja: '深度と法線' },
  'Replace by the node of Depth & Normals': { zh: '改用“深度与法线”的节点', ja: '「深度と法線」のノードに置き換える' },
  'in the pack': { zh: '随包提供', ja: '内蔵' },
  'on disk': { zh: '已下载', ja: 'ダウンロード済み' },
  'to download': { zh: '需下载', ja: '要ダウンロード' },
  'not published': { zh: '作者未发布', ja: '未公開' },
  metres: { zh: '米', ja: 'メートル' },
  'depth without unit': { zh: '无单位深度', ja: '単位なし深度' },
  'relative depth': { zh: '相对深度', ja: '相対深度' },
  'scale invariant depth': { zh: '尺度不定深度', ja: 'スケール不定深度' },
  disparity: { zh: '视差', ja: '視差' },
  normals: { zh: '法线', ja: '法線' },
  'not for commercial use': { zh: '不可商用', ja: '商用利用不可' },
  'commercial use unclear': { zh: '可否商用不明', ja: '商用利用の可否は不明' },
  'non-commercial': { zh: '非商业', ja: '非商用' },
}

/**
 * Translates a text to the page's language.
 * @param {string} english
 * @param {...(string | number)} values Values of the placeholders {0}, {1}.
 * @returns {string}
 */
export function translated(english, ...values) {
  const words = WORDS[english]?.[language()] ?? english
  return words.replace(/\{(\d)\}/g, (_, place) => String(values[place]))
}

/** Translates each part of a line such as "on disk, 99 MB · metres + normals". @param {string} line @returns {string} */
export function translatedParts(line) {
  return line.split(/( · |, | \+ )/).map(part => translated(part)).join('')
}
