"""Words that a command refuses: what is said of them, before a model is loaded, and that no file is written."""

import os
import shlex
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app import cli
from depth_normal.app.console.parser import no_such_file
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import exr, save_estimate
from depth_normal.geometry.kinds import Projection

NEEDS = {"ui": "aiohttp", "video": "av", "parallax": "av", "export": "onnx"}
"""The packages without which a command refuses everything."""


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A file of each kind that commands read."""
    folder = tmp_path_factory.mktemp("files")
    folders = ("photos", "clips/more", "mixed", "shots", "grey", "empty", "file.onnx/tiny.onnx")
    for name in (*folders, "folder.mp4/clip_depth.mp4"):
        (folder / name).mkdir(parents=True)
    for name in ("photo.jpg", "-x.jpg", "my clip.MP4", "taken", "mine.bin", "notes.txt", "empty/notes.txt"):
        (folder / name).touch()
    noise = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    flat = np.full((16, 16, 3), (255, 128, 128), np.uint8)
    for name, pixels in (
        *(("hall.png", noise), ("wave.png", noise[:48, :64]), ("f_1.png", noise[:8, :8]), ("f_2.png", noise[:8, :8])),
        *(("n.png", flat), ("tall.png", flat[..., 0]), ("still.webp", flat), ("named.jpg", flat)),
    ):
        cv2.imwrite(str(folder / name), pixels)
    (folder / "named.jpg").rename(folder / "named.mp4")
    (folder / "page.pth").write_bytes(b"<html>")
    (folder / "empty.safetensors").write_bytes(b'\x15\0\0\0\0\0\0\0{"__metadata__":{}}  ')
    shutil.copy(folder / "wave.png", folder / "shots")
    for number in (1, 2, 3):
        shutil.copy(folder / "tall.png", folder / "grey" / f"{number}.png")
    getattr(os, "mkfifo", Path.touch)(folder / "pipe.png")  # which would be waited for
    facing = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).repeat(1, 1, 48, 64)
    save_estimate(folder / "wave.npz", Estimate(torch.rand(1, 1, 48, 64) + 1, Quantity.METRIC_DEPTH, facing, Axes.OPENGL))
    around = Estimate(torch.rand(1, 1, 64, 128) + 1, Quantity.METRIC_DEPTH, normals=facing[..., :1, :1].repeat(1, 1, 64, 128))
    save_estimate(folder / "hall.npz", replace(around, projection=Projection.EQUIRECTANGULAR))
    if find_spec("OpenEXR"):
        exr.write_depth_channel(folder / "metres.exr", np.linspace(2, 9, 48 * 64).reshape(48, 64))
    if find_spec("av"):
        from tests.videos import moving_ball, write_video

        write_video(folder / "clip.mp4", moving_ball(3, 8, 64), codec="libx264")
        ramp = np.tile(np.arange(64, dtype=np.uint16) * 900, (8, 1))
        write_video(folder / "slow.mkv", [[ramp]] * 6, "gray16le", rate=12)
    else:
        (folder / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    for name in ("clips/a.mp4", "clips/more/b.mp4", "mixed"):
        shutil.copy(folder / "clip.mp4", folder / name)
    shutil.copy(folder / "wave.png", folder / "mixed")
    return folder


@pytest.fixture
def here(files, monkeypatch):
    """The working directory has these files, which no test may change."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(torch.export, "export", None)


@pytest.fixture
def no_model(monkeypatch):
    """No model is loaded; the last of these modules is the one that the others have the function of."""
    for module in ("app.batch.options", "app.onnx_export", "app.verify.verification", "model_loader"):
        monkeypatch.setattr(f"depth_normal.{module}.load_model", lambda *_: pytest.fail("a model was asked for"))


def pixels(typed, shares=""):
    advice = "give fractions of the image, 0 to 1 from left to right and from top to bottom"
    return f"{typed} looks like pixels; {advice}{f': {shares} of wave.png (64x48 pixels)' if shares else ''}\n"


METRES = (
    "tiny gives disparity, normals, and {} needs depth in metres: {}, or choose a model of metric depth, such as --model moge-2-vits-normal"
)
PERCENT = METRES.format("--unit metres", "give all distances in percent (0 the near end, 100 the far end) without --unit")
PANORAMA = "needs images of a perspective camera, and this geometry is a panorama's"
REFUSED = [
    ("estmate photo.jpg", "'estmate' is neither a command nor a file here; did you mean estimate?"),
    ("xyzzy", "'xyzzy' is neither a command nor a file here; depth-normal --help lists the commands"),
    ("phto.jpg", "phto.jpg: there is no such file; did you mean photo.jpg?"),
    ("photo", "'photo' is neither a command nor a file here; did you mean photo.jpg?"),
    ("fog photo.jpg", "'fog' is neither a command nor a file here; did you mean effect fog?"),
    ("depth_of_field photo.jpg", "did you mean effect depth-of-field?"),
    ("normals photo.jpg", "'normals' is no command; without one, depth and normals are written: depth-normal photo.jpg"),
    ("moge2", "for a model, name an image before it: depth-normal photo.jpg --model moge-2-vits-normal"),
    ("nowhere/photo.jpg", "nowhere/photo.jpg: there is no such file\n"),
    ("tiny photo.jpg", "'tiny' is a model; name an image before it: depth-normal photo.jpg --model tiny"),
    ("''", "the first word is empty"),
    ("--model tiny relight photo.jpg", "--model stands before the command; options follow it: depth-normal relight --model"),
    ("photo.jpg --light 1,2", "unrecognized arguments: --light 1,2; that is an option of relight\n"),
    ("photo.jpg -o ''", "the name is empty"),
    ("photo.jpg --shape 9", "that is an option of texture detail, texture pbr\n"),
    ("-x.jpg --model tiny", "-x.jpg begins with a dash and so is taken for an option; a file of this name is typed ./-x.jpg"),
    ("photo.jpg --divergence 3", "--divergence is for images for both eyes"),
    ("photo.jpg --shard-size 1GB", "--shard-size is for shards"),
    ("photo.jpg --workers 2", "--workers is for a Ray cluster"),
    ("photo.jpg --up z", "--up is for a PLY"),
    ("photo.jpg --write depth --near-far-ratio 9 --model tiny", "--near-far-ratio is for normals and meshes, and depth is neither"),
    ("photo.jpg --write depth,anaglyph --fov 60 --model tiny", "--fov is for normals, meshes and metres, and tiny gives depth without"),
    ("hall.png --model tiny -o out --panorama --also html", "html cannot be made of a panorama; of panoramas are written depth"),
    ("hall.png --model tiny -o out --panorama --fov 60", "--fov is for photos, and --panorama is set"),
    ("hall.png --model tiny -o out --any-aspect", "--any-aspect is for panoramas; add --panorama"),
    ("hall.png -o out --panorama --model dsine", "a panorama needs depth"),
    ("wave.png -o out --model midas-v9", "unknown model 'midas-v9'; did you mean midas-v2.1-small"),
    ("wave.png --model midas-v2.1-small -o out --device cuda", "device 'cuda' is not available"),
    ("wave.png --also pfm,tga", "'tga' is none of depth, normals, npz, exr"),
    ("'my clip.MP4'", "my clip.MP4 is a video; `depth-normal video 'my clip.MP4'` makes maps of it"),
    ("photo.jpg tiny", "'tiny' is a model; name it behind --model: --model tiny"),
    ("wave.png -o out --model tiny --refine-steps 2", "only moge-3-vitl and moge-3-vitg have: leave --refine-steps out"),
    ("wave.png -o out --model tiny --coding directx --write depth,npz", "add normals to --write"),
    ("wave.png -o out --model tiny --near black --write npz", "--near is for <image>_depth.png"),
    ("wave.png -o out --model tiny --half", "--half is for EXR"),
    ("wave.png -o out --model tiny --write npz --bits 16", "--bits is for"),
    ("wave.png --model tiny -o taken", "taken is a file, not a folder"),
    ("wave.png -o out --model tiny --write parquet,npz --engine ray", "one kind of them is written by itself"),
    ("wave.png -o s3://bucket/maps --model tiny --engine ray", "files go to a folder"),
    ("wave.png -o s3://bucket/maps --model tiny", "files go to a folder, shards to a store too: add --write parquet or webdataset"),
    ("wave.png -o out --model tiny --weights /nowhere.safetensors --engine ray", "/nowhere.safetensors: there is no such file"),
    ("page.pth -o out --model tiny", "page.pth: not an image of a known kind"),
    ("s3://photos/a.png -o out --model tiny", "s3://photos/a.png: images in stores are read with --engine ray"),
    ("wave.png -o out --model marigold-normals --write depth", "marigold-normals gives normals: there is no depth to write"),
    ("wave.png --model tiny -o c.png", "depth,normals makes several; name a folder, such as c/, or one kind, as with --write depth"),
    ("wave.png -o out --weights page.pth", "is a web page"),
    ("wave.png -o out --weights nope.pth", "does not exist"),
    ("wave.png -o out --weights empty.safetensors", "there are no tensors"),
    ("estimate wave.png -o out --write glb --model bae-normal", "bae-normal gives normals; a mesh (glb) needs depth"),
    ("estimate '' --model tiny", "a name is empty"),
    ("demo -o taken/deeper", "taken is a file, not a folder"),
    ("effect xyzzy photo.jpg", "'depth-of-field')\n"),
    ("effect photo.jpg", "; the command stands before the file, as in: depth-normal effect cutout photo.jpg\n"),
    ("effect mask photo.jpg --far deep", "'deep' is not a number"),
    ("effect mask photo.jpg --far 35%", "'35%' is not a number; percent are written without %: 35\n"),
    ("effect mask photo.jpg --point 0.5 0.4", "'0.5' is not x,y: 2 numbers with commas between"),
    ("effect mask photo.jpg --tolerance 3", "--tolerance says how far"),
    ("effect mask photo.jpg --select object", "--select says what --point selects"),
    ("effect mask photo.jpg --box 0,0,0.5,1 --point 0.6,0.5", "the point (0.6, 0.5) of the object is outside the box"),
    ("effect mask photo.jpg --box 0,0,0.5,1 --point 0.5,0.5 --not-point 0.5,0.5", "is both in the object and not in it"),
    ("effect mask photo.jpg --not-point 0.5,0.5", "--not-point is beside the object at --point"),
    ("effect mask photo.jpg --point 0.5,0.5 --not-point 0.1,0.1", "--not-point removes parts of an object; add --select object"),
    ("effect mask photo.jpg --point 0.5,0.5 --point 0.5,1.2", "the point is at (0.5, 1.2)"),
    ("effect mask photo.jpg --box 0,0,0.5,1 --far 9", "--far has no effect on the object in a --box"),
    ("effect mask photo.jpg --point 0.5,0.5 --select object --unit metres", "--unit has no effect on a whole object"),
    ("effect mask photo.jpg --box 0,0,0.5,2", "the box is from (0, 0) to (0.5, 2)"),
    ("effect depth-of-field photo.jpg --focal-length 50mm", "--focal-length is of a real lens"),
    ("effect depth-of-field photo.jpg --rotation 5", "--rotation turns the blades"),
    ("effect mask photo.jpg photos --feather -1 --model tiny", "depth-normal: --feather is -1.0"),
    ("effect fog clip.mp4 --model tiny", "clip.mp4 is a video, and this command takes images; `depth-normal video clip.mp4` makes depth"),
    ("effect mask wave.png -o out/a.png --unit metres --model tiny", PERCENT),
    ("effect depth-of-field wave.png -o out/a.png --f-number 2 --model tiny", METRES.format("--f-number", "give --blur in its place")),
    ("effect mask wave.png -o out/a.png --model bae-normal", "bae-normal gives normals, and depth is needed"),
    ("effect mask wave.png -o out/a.png --near 50 --far 40 --model tiny", "the mask begins at 50 and ends at 40 percent"),
    ("effect fog wave.png --depth wav.npz", "did you mean wave.npz?"),
    ("effect fog hall.png --geometry hall.npz -o b.png", PANORAMA),
    ("effect mask wave.png --geometry wave.npz --point 32,12", pixels("--point 32,12", "--point 0.5,0.25")),
    ("effect cutout wave.png --geometry wave.npz --box 8,6,56,42", pixels("--box 8,6,56,42", "--box 0.125,0.125,0.875,0.875")),
    ("effect cutout photo.jpg --model tiny --box 8,6,56,42 -o out/", pixels("--box 8,6,56,42")),
    ("effect cutout shots photo.jpg --model tiny --box 8,6,56,42 -o out/", pixels("--box 8,6,56,42")),
    ("effect mask wave.png --geometry wave.npz --point 500,10", "; it lies outside of wave.png (64x48 pixels)"),
    ("effect fog shots wave.png -o one.png", "several images are named; give -o a folder"),
    ("effect mask photo.jpg --model tiny -o one.png --keep-extension", "--keep-extension is for results in a folder"),
    ("effect fog shots wave.png -o out --depth f_1.png", "f_1.png is of one image, and several are named"),
    ("effect fog wave.png --geometry wave.npz --sky-mask wave.png --no-sky", "leave out --no-sky, or the mask"),
    ("effect fog wave.png --geometry wave.npz --sky-mask hall.png", "hall.png has 128x64 pixels"),
    ("effect fog wave.png --geometry wave.npz --sky-mask wave.npz", "wave.npz"),
    ("effect fog wave.png --geometry wave.npz --sky-mask n.png -o n.png --overwrite", "n.png is an image or a file that is read"),
    ("effect fog photos wave.png --model tiny --sky-mask wave.png -o made", "is of one image, and several are named"),
    ("effect cutout wave.png --geometry wave.npz -o out.jpg", "out.jpg"),
    ("relight photo.jpg -o s3://maps/a.png", "only `estimate` writes to a store"),
    ("relight photo.jpg -o -lit.png", "expected one argument (one that begins with a dash is typed --out=-...)"),
    ("relight photo.jpg --coding directx", "--coding says how a --normal-map stores its vectors"),
    ("relight photo.jpg --geometry a.npz --tiles 3", "--tiles is for a model, and depth and normals come from a.npz"),
    ("relight photo.jpg --light 0,91 --model tiny", "depth-normal: --light: the elevation is 91.0; accepted: -90 to 90"),
    ("relight clip.mp4 --model tiny", "with --what normals, stereo or parallax these"),
    ("relight wave.png -o out/a.png --weights nope.pth --model tiny", "nope.pth does not exist; give the path"),
    ("relight wave.png --geometry wave.npz --point a,1,2 -o b.png", "'a,1,2' is not x,y,depth"),
    ("relight wave.png --geometry wave.npz --point 0.5,0.5,-1 -o b.png", "--point: depth is -1.0; accepted: 0.05 and above"),
    ("relight wave.png --geometry wave.npz -o taken/sub/a.png", "taken is a file, not a folder"),
    ("relight hall.png --geometry hall.npz -o b.png", PANORAMA),
    ("relight wave.png -o x.png --depth hall.png", "a normal map is named behind --normal-map"),
    ("relight wave.png -o x.png --depth metres.exr", "add --quantity metric-depth"),
    (
        "relight wave.png -o x.png --depth tall.png --quantity metric-depth",
        "name relative-depth (white = far), millimetres or kitti (of 16 bits), or save",
    ),
    ("relight wave.png -o x.png --geometry wave.npz --depth d.png", "name one"),
    ("relight wave.png -o x.png --depth tall.png", "another shape"),
    ("mesh photo.jpg photo.glb", "photo.glb is one word too many; the name of the result follows -o"),
    ("mesh photo.jpg --normal-map n.png", "n.png has normals alone, and depth is needed"),
    ("mesh photo.jpg --width 80mm", "--width has no effect on a .glb; leave it out, or name another kind of file with -o"),
    ("mesh photo.jpg -o a.stl --width -1mm --model tiny", "depth-normal: --width is -1.0; accepted: 1 to 10000"),
    ("mesh absent.png --splats -o x.glb", "x.glb: the name ends in .glb; with --splats this command writes .ply"),
    ("mesh absent.png --splats --max-jump 1", "--max-jump has no effect on splats"),
    ("mesh absent.png --splats --fill-behind 9", "--fill-behind has no effect on splats"),
    ("mesh absent.png -o x.stl --fill-behind 9", "--fill-behind has no effect on a .stl"),
    ("mesh absent.png --splats --width 9", "--width has no effect on a .ply"),
    ("mesh absent.png -o x.glb --up z", "--up has no effect on a .glb"),
    ("mesh absent.png -o x.stl --near-far-ratio 9", "--near-far-ratio has no effect on a .stl"),
    ("mesh wave.png --geometry wave.png", "too; a depth image goes behind --depth (near = white)"),
    ("mesh hall.png --geometry hall.npz -o b.stl", PANORAMA),
    ("refine photo.jpg --geometry a.npz --radius 1.5", "'1.5' is not a whole number of pixels"),
    ("refine wave.png --geometry wave.npz -o x.png", "this command writes .npz, .exr"),
    ("refine wave.png --geometry wave.npz -o x.npz --radius 99", "radius is 99"),
    ("refine photo.jpg --geometry wav.npz", "depth-normal: photo.jpg: the file is empty\n"),
    ("refine wave.png --geometry wav.npz", "depth-normal: wav.npz: there is no such file; did you mean wave.npz?\n"),
    ("refine hall.png --geometry hall.npz -o b.npz", PANORAMA),
    ("texture 'a wall.jpg' --model tiny", "as in: depth-normal texture pbr 'a wall.jpg'\n"),
    ("texture pbr photo.jpg -o a.png", "a.png is the name of a file, and this command may write several: name a folder, such as a"),
    ("texture detail photo.jpg --source photo --size 64", "--size says where normals come from, and --source photo takes none"),
    ("texture detail photo.jpg --source normals --relief 2 --model tiny", "--relief says how high the photo's contrast is"),
    ("texture pbr photo.jpg --margin 0.5 --model tiny", "--margin says how far a model sees beyond the borders"),
    ("texture pbr photo.jpg --shape 0.5 --model tiny", "depth-normal: --shape is 0.5"),
    ("texture detail wave.png -o out/a.png --model leres", "whose slopes are not known, and normals are needed"),
    ("texture seamless wave.png -o out/a.npz --margin 7 --model tiny", "margin is 7"),
    ("texture pbr wave.png -o maps --orm", "--orm is of the maps of --materials; add it"),
    ("texture pbr wave.png -o maps --materials simple --materials-size 64", "--materials-size says what a model sees"),
    ("texture pbr wave.png -o maps --materials marigold-iid-appearance --roughness 0.5", "--roughness is of --materials simple"),
    ("texture pbr wave.png -o maps --materials simpel", "'simpel'; accepted: simple, marigold-iid-appearance; did you mean simple?"),
    ("texture pbr wave.png -o maps --model marigold-iid-appearance", "and neither depth nor normals"),
    ("texture height n.png -o h.jpg", ".png, .exr"),
    ("texture detail hall.png --geometry hall.npz -o b.png", PANORAMA),
    ("texture height hall.npz -o b.png", PANORAMA),
    ("texture occlusion hall.npz -o b.png", PANORAMA),
    ("texture normals wave.npz --height-range 5 -o b.png", "--height-range says what the grey levels of an image mean"),
    ("texture curvature wave.npz --coding directx -o b.png", "--coding says how an image stores normals"),
    ("stereo clip.mp4 --layout anaglyph --model tiny", "`depth-normal video clip.mp4 --what stereo --layout anaglyph`"),
    ("stereo wave.png -o out --model bae-normal", "bae-normal gives normals; images for both eyes (full-sbs) need depth"),
    ("stereo wave.png --model tiny --layout 360-tb", "360-tb is made of 360° panoramas: add --panorama"),
    ("stereo wave.png --model tiny --layout vr180 --divergence 3", "--divergence is for screens, and vr180 is for headsets"),
    ("stereo wave.png --model tiny --eye-distance 70", "--eye-distance is for headsets, and full-sbs is not"),
    ("stereo wave.png --model tiny --layout vr180 --eye-size 65", "eye_size is 65; accepted: even numbers"),
    ("stereo wave.png --model tiny -o f_1.png", "f_1.png is there already"),
    ("stereo wave.png --model tiny -o wave.png --overwrite", "is an image or a file that is read"),
    ("stereo wave.png --model tiny -o c.jpg", "c.jpg: the name ends in .jpg; this command writes .png"),
    ("stereo wave.png --model tiny --holes -o c.png", "full-sbs,full-sbs-holes makes several; name a folder, such as c"),
    ("stereo shots --model tiny -o c.png", "several images are named; name one image, or name a folder, such as c"),
    ("stereo wave.png --model tiny --resume -o c.png", "--resume is for a folder of results, and -o names the file"),
    ("stereo wave.png f_1.png --geometry wave.npz", "of one image"),
    ("stereo wave.png --channel Z", "add --depth FILE"),
    ("parallax clip.mp4 --model tiny --tiles 2", "--tiles is for images, and"),
    ("parallax clip.mp4 --model tiny --seconds 0", "--seconds is 0.0; accepted: 0.1 to 3600"),
    ("parallax clip.mp4 --model bae-normal", "bae-normal gives normals, and depth is needed"),
    ("parallax mixed --model tiny", "1 image (mixed/wave.png) and 1 video (mixed/clip.mp4) are named"),
    ("parallax wave.png --model tiny --seconds 0", "are 0 frames; accepted: 1 to 10000"),
    ("parallax wave.png --model tiny --longer-side 3", "--longer-side is 3; accepted: 0, and 16 and more"),
    ("parallax wave.png --model tiny -o a.png", "this command writes .mp4, .mov, .mkv"),
    ("parallax hall.png --geometry hall.npz -o b.mp4", PANORAMA),
    ("video photos --layout anaglyph", "--layout is for stereo, and --what names none"),
    ("video photos --near black --what normals", "--near is for depth, and --what names none"),
    ("video a.mp4 --smoothe=1", "did you mean --smooth?"),
    ("video shots -o out/film.mp4 --what depth,normals --model bae-normal", "bae-normal gives normals, and --what depth needs depth"),
    ("video shots -o out/film.mp4 --what normals --model leres", "leres gives relative_depth, whose slopes are not known"),
    ("video clip.mp4 -o clip.mp4 --model tiny --overwrite", "a file that is read"),
    ("video clip.mp4 -o folder.mp4 --model tiny --overwrite", "is a folder"),
    ("video clip.mp4 -o out.avi --model tiny", ".mp4, .mov, .mkv"),
    ("video clip.mp4 -o maps --model tiny", "maps: the name says no kind of file; maps.mp4 is a video, maps/ a folder of results"),
    ("video clip.mp4 -o clip.mp4/out.mp4 --model tiny", "clip.mp4 is a file, not a folder"),
    ("video clip.mp4 -o out.mp4 --model tiny --codec ffv1", ".mkv"),
    ("video clip.mp4 -o out_%03d.exr --model tiny --what side-by-side", "is an image"),
    ("video clips -o maps.mp4", "maps.mp4 is the name of one file, and clips is a folder of videos; give -o a folder, such as maps/"),
    ("video clips -o clips", "clips is where the results go (--out), and the next run would take them for videos"),
    ("video f_1.png f_2.png -o maps.mp4", "images that are frames are named together, as frame_%05d.png or as their folder"),
    ("video empty", "empty: no videos in it but 1 other file (.txt 1); name another folder, or files (videos in folders end with .3gp"),
    ("video *.webm", "*.webm: no file matches this pattern"),
    ("video clips --model tiny --preview 2 --resume", "--resume has no effect on a --preview"),
    ("video clip.mp4 --start -1 --model tiny", "--start"),
    ("video phto.jpg --model tiny", "phto.jpg: there is no such file; did you mean photo.jpg?"),
    ("video f_%d.png -o a.mkv --model tiny --refine-steps 2", "tiny has no steps of refinement"),
    ("video clip.mp4 -o out.mkv --model tiny --start 2 --end 1.5", "--end is 1.5 and --start 2: the end must be behind the start"),
    ("video clip.mp4 -o out.mkv --model tiny --move dolly", "add parallax to --what"),
    ("video clip.mp4 -o out.mkv --model tiny --what parallax --loop 0", "--loop is 0.0; accepted: 0.1 to 3600"),
    ("video clip.mp4 -o out.mkv --model tiny --what stereo --eye-size 512", "--eye-size is for headsets, and full-sbs is not"),
    ("video clip.mp4 -o out.mkv --model tiny --width 100 --preset wan", "Fun Control takes multiples of 16, such as 96"),
    ("video clip.mp4 -o a.mov --model tiny --codec dnxhr", "256x120 pixels, and the result has 64x8; choose another codec, or scale it up"),
    ("video clip.mp4 -o a.mp4 --model tiny --width 8320 --what side-by-side", "sides up to 16384 pixels, and the result has 16640x1040"),
    ("video clip.mp4 -o a.mov --model tiny --codec prores --quality 3", "--quality is for h264 and h265; prores has none"),
    ("video f_%d.png -o f_%d.png --model tiny --overwrite", "would be read as images of"),
    ("video shots -o shots/depth_%03d.png --model tiny --overwrite", "would be read as images of"),
    ("video f_1.png -o out/ --model tiny", "takes videos; `depth-normal f_1.png` makes depth and normals of it"),
    ("video f_1.png --what depth,parallax -o out/ --model tiny", "takes videos; `depth-normal parallax f_1.png` makes a camera move of it"),
    ("video still.webp -o o.mp4 --model tiny", "still.webp is an image, and this command takes videos"),
    ("video named.mp4 -o o.mp4 --model tiny", "is an image with the name of a video: rename it to named.jpg, and this command takes"),
    ("video notes.txt -o o.mp4 --model tiny", "notes.txt: not a video that can be opened, or one that is damaged"),
    ("video clip.mp4 -o o.mp4 --depth grey --model tiny", "--model is for a model, and depth and normals come from"),
    ("video clip.mp4 -o o.mp4 --depth grey --smooth 0", "--smooth is for a model, and depth comes from"),
    ("video clip.mp4 -o o.mp4 --depth tall.png", "is one image; name a depth video"),
    ("video clip.mp4 -o o.mp4 --depth clip.mp4", "is coloured"),
    ("video clip.mp4 -o o.mp4 --depth grey", "another shape"),
    ("video clip.mp4 -o o.mp4 --depth slow.mkv", "at 12 and 25 frames a second; each frame needs its own depth"),
    ("video clip.mp4 -o o.mp4 --depth none.mkv", "none.mkv"),
    ("video clip.mp4 -o o.mp4 --depth pipe.png", "pipe.png"),
    ("video clip.mp4 -o o.mp4 --quantity disparity", "is of a file of depth: add --depth FILE, or leave it out"),
    ("convert wave.npz b.txt", "this command writes .npz"),
    ("convert wave.npz b.npz --as-image", "--as-image is for .png"),
    ("convert wave.npz b.png --near black", "--near is for an image to look at; add --as-image"),
    ("convert wave.npz b.png --half", "--half is for .exr"),
    ("convert wave.npz b", "the name has no extension (that of a folder ends in"),
    ("convert wave.npz b.npz -o c.npz", "--out names a result, and so does b.npz"),
    ("compare hall.npz wave.npz", "the first file is equirectangular, the second perspective"),
    ("compare wave.png wave.png", "a normal map instead, or name the quantity: metric_depth (metres), millimetres, "),
    ("compare wave.npz wave.npz -o a.jpg", "a.jpg: heat maps are written to .png or .html"),
    ("compare wave.npz tall.png --quantity disparity --normals-from-depth", "tall.png has no normals, so"),
    ("compare tall.png wave.npz --quantity relative-depth --normals-from-depth", "tall.png: relative depth does not tell normals"),
    ("compare wave.npz wave.npz --overwrite", "--overwrite is for heat"),
    ("view --no-open photo.png.jpg", "photo.png.jpg --write html --open` makes a page"),
    ("view --no-open wave.npz hall.npz --image wave.png", "--image is of one file, and 2 are named"),
    ("view --no-open none.npz", "none.npz"),
    ("view --no-open wave.npz hall.npz -o a.html", "a.html is the name of one file, and 2 are named"),
    ("view --no-open wave.npz -o a.png", "a.png: the name ends in .png; this command writes .html"),
    ("view --no-open hall.npz -o pages", PANORAMA),
    ("view wave.npz --no-open --image tall.png -o out", "the image 16x16: another shape"),
    ("export tiny -o a.bin", ".onnx"),
    ("export nothing -o a.onnx", "unknown model"),
    ("export leres-boost -o a.onnx", "All models can but these: "),
    ("export tiny -o file.onnx/", "tiny.onnx is a folder; move it"),
    ("export lbm-normals -o new/folder/a.onnx", "VAE"),
    ("export", "no model is named; name one"),
    ("download", "no model is named; name one"),
    ("download midas-v9", "did you mean midas-v2.1-small?"),
    ("verify tini", "did you mean tiny"),
    ("verify --all tiny", "--all means every model"),
    ("verify --all --weights mine.bin", "goes with one MODEL; found --all"),
    ("verify tiny --weights shots", "is not a file"),
    ("verify --weights shots", "is a folder"),
    ("bench tiny --model midas-v2.1-small", "two models are named, tiny and midas-v2.1-small; this command takes one"),
    ("bench --model da2", "takes panoramas"),
    ("bench --model marigold-iid-appearance", "neither depth nor normals"),
    ("bench tiny --weights nope.pth --runtime all", "nope.pth does not exist; give the path of a weights file"),
    ("clean nowhere", "nowhere is no folder"),
    ("ui --no-browser --port 65536", "a port, 0 to 65535"),
    ("ui --no-browser --model nothing", "nothing"),
    ("ui --no-browser -o taken", "taken is a file, not a folder"),
]
AFTER_LOADING = [
    ("wave.png --model tiny -o out --panorama", "64x48 pixels; a panorama of the whole sphere"),
    ("verify tiny --figures notes.txt", "is not JSON"),
    ("verify tiny --figures none.json", "none.json is no file; --figures takes"),
    ("video clip.mp4 -o no/out.mp4 --model tiny --start 99", "not one frame from 99 s on; it lasts"),
    ("video clip.mp4 -o out.mp4 --model tiny --preset mochi --what depth", "64x8 pixels"),
    ("export tiny -o a.onnx --size 128x96", "multiples of 64"),
    ("export tiny -o a.onnx --size 65536x65536", "more than 64 megapixels"),
]


def contents():
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in Path().rglob("*")}


@pytest.mark.quick_cases(120)
@pytest.mark.parametrize(("typed", "said"), [*REFUSED, *AFTER_LOADING])
def test_what_is_refused_is_said_and_nothing_is_made(typed, said, here, request, capsys):
    words, before = shlex.split(typed), contents()
    if (typed, said) in REFUSED:
        request.getfixturevalue("no_model")
    if words[0] in NEEDS:
        pytest.importorskip(NEEDS[words[0]])
    try:
        code = cli.main(words)
    except SystemExit as end:
        code = end.code
    found = capsys.readouterr().err
    assert (code, said in found, "Traceback" in found) == (2, True, False), found
    assert contents() == before


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize(
    "words",
    [
        *("wave.png", "stereo wave.png", "effect fog wave.png", "relight wave.png", "mesh wave.png", "video shots", "export"),
        *(f"texture {kind} wave.png" for kind in ("detail", "pbr", "seamless")),
    ],
)
def test_a_folder_that_takes_no_files_is_refused_before_a_model_is_loaded(words, here, no_model, capsys):
    assert cli.main([*words.split(), "--model", "tiny", "-o", "/proc/maps/"]) == 2
    said = capsys.readouterr().err
    assert "/proc takes no files (" in said or "this user may not write to /proc" in said


def test_several_images_are_refused_once(here, no_model, capsys):
    assert cli.main(["effect", "mask", "wave.png", "shots", "-o", "out", "--unit", "metres", "--model", "tiny"]) == 2
    assert capsys.readouterr().err.count("needs depth in metres") == 1


@pytest.mark.parametrize("words", ["wave.png --geometry wave.npz --unit metres --far 1.5", "hall.png --geometry hall.npz"])
def test_metres_of_a_file_and_panoramas_are_taken(words, here, tmp_path):
    assert cli.main(["effect", "mask", *words.split(), "-o", f"{tmp_path}/"]) == 0 and cli.main(["compare", "hall.npz", "hall.npz"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_a_link_to_nothing_is_no_misspelt_name(tmp_path):
    (tmp_path / "a.jpg").symlink_to("gone.jpg")
    assert no_such_file(tmp_path / "a.jpg").endswith("a.jpg: a link to gone.jpg, which is not there")


def test_a_file_that_nobody_can_look_for_is_not_said_to_be_missing(tmp_path, forbidden):
    (locked := tmp_path / "locked").mkdir()
    with forbidden(locked, 0, os.X_OK):
        assert no_such_file(locked / "a.jpg") == f"{locked / 'a.jpg'}: Permission denied"
