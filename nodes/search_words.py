"""Search aliases in other languages: ComfyUI's search does not translate aliases. Effects have theirs in `options.effects`."""

from __future__ import annotations

_ALSO = {
    "demo image": "示例图片 演示图片 サンプル画像 デモ画像",
    "demo video": "示例视频 演示视频 サンプル動画 デモ動画",
    "depth": "深度 デプス 奥行き",
    "normal": "法线 法線 ノーマル",
    "z depth": "Z深度 Zデプス",
    "lidar": "激光雷达 深度相机 深度カメラ 測定深度",
    "depth map": "深度图 深度圖 深度贴图 深度估计 デプス デプスマップ 深度マップ 深度推定 奥行き",
    "depth image": "深度图 深度圖 デプス デプスマップ 深度マップ",
    "depth estimation": "深度估计 单目深度 デプス 深度推定 単眼深度 単眼深度推定",
    "video depth": "视频深度 深度视频 動画の深度 ビデオ深度 デプス",
    "metric depth": "度量深度 メトリック深度",
    "panorama": "全景 全景图 全景圖 パノラマ 全天球",
    "360 depth": "全景深度 360度 VR 360度の深度 デプス",
    "disparity": "视差图 視差",
    "normal map": "法线贴图 法线图 法線貼圖 ノーマルマップ 法線マップ",
    "surface normals": "法线估计 表面法线 法線推定 ノーマル",
    "video normals": "法线视频 视频法线 動画の法線 ノーマルマップ",
    "normal model": "法线模型 法線モデル ノーマルマップ",
    "depth model": "深度模型 深度モデル デプス",
    "depth preprocessor": "预处理器 プリプロセッサ",
    "controlnet preprocessor": "预处理器 プリプロセッサ",
    "normals from depth": "深度转法线 法线贴图 ノーマルマップ デプス",
    "depth to geometry": "深度图 导入深度 デプス 奥行き",
    "refine depth": "边缘锐化 深度细化 导向滤波 デプス 高精細化",
    "flicker": "闪烁 ちらつき",
    "flip green": "翻转绿通道 绿通道 法线贴图 緑チャンネル 反転 ノーマルマップ",
    "preview depth": "预览深度 查看深度 点云 デプス 点群 3Dビュー",
    "relight": "重打光 打光 重新打光 照明 再照明 ライティング",
    "light": "补光 打光 照明",
    "shadow": "阴影 影",
    "parallax": "视差 视差动画 2.5D 运镜 視差 カメラワーク",
    "stereo": "立体 裸眼3D 红蓝 左右眼 VR 立体視 ステレオ 飛び出す",
    "height map": "高度图 置换贴图 凹凸贴图 ハイトマップ 高さマップ ディスプレイスメント バンプ",
    "curvature map": "曲率贴图 边缘磨损 カーバチャ 曲率 エッジウェア",
    "ambient occlusion": "AO 环境光遮蔽 环境遮蔽 アンビエントオクルージョン 環境遮蔽",
    "seamless texture": "无缝贴图 无缝纹理 平铺 四方连续 シームレス タイリング",
    "pbr from photo": "照片转PBR 照片转材质 PBR材质 写真からPBR 写真からマテリアル PBRマテリアル",
    "albedo": "反照率 固有色 去光照 アルベド ベースカラー",
    "roughness map": "粗糙度贴图 粗糙度 ラフネス 粗さマップ",
    "detail normal map": "细节法线 照片转法线 ノーマルマップ 写真から法線",
    "save 16-bit png": "保存贴图 导出贴图 テクスチャ保存 16ビット",
    "convert geometry": "几何转换 ジオメトリ変換",
    "save depth": "保存深度 导出深度 深度を保存 デプス保存 EXR保存",
    "load depth": "读取深度 导入深度 加载深度 深度を読み込む デプス読み込み",
    "export mesh": "导出模型 三维模型 网格 照片转3D 3Dモデル メッシュ 写真を3D",
    "3d print": "3D打印 浮雕 雕刻 3Dプリント 3Dプリンター 浮き彫り 彫刻",
}
"""Chinese and Japanese equivalents of the English aliases."""


def with_other_languages(aliases: str) -> list[str]:
    """A node's comma-separated aliases, with the Chinese and Japanese ones."""
    english = aliases.split(", ")
    also = (word for alias in english for word in _ALSO.get(alias, "").split())
    return list(dict.fromkeys([*english, *also]))
