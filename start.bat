@echo off
rem The same as `make run`: ./venv, the locked packages, and the server on port 8000.
setlocal
cd /d "%~dp0"
if exist venv\Scripts\python.exe goto installed

rem Tried one by one: `py -3` takes the newest, which may be too new. The variable PYTHON overrides.
for %%v in (3.13 3.12 3.11 3.10) do if not defined PYTHON py -%%v -c "" >nul 2>nul && set PYTHON=py -%%v
if not defined PYTHON set PYTHON=python
%PYTHON% -c "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and 'asr-server needs Python 3.10 to 3.13')" || goto failed
%PYTHON% -m venv venv || goto failed

:installed
rem Install again if the requirements differ from the installed ones, as after an update.
copy /y /b requirements.lock+requirements-torch.lock+pyproject.toml venv\.wanted >nul || goto failed
fc /b venv\.wanted venv\.installed >nul 2>nul && goto run
venv\Scripts\python -m pip install --no-deps -r requirements.lock || goto failed
venv\Scripts\python -m pip install -r requirements-torch.lock || goto failed
venv\Scripts\python -m pip install --no-deps --no-build-isolation -e . || goto failed
move /y venv\.wanted venv\.installed >nul || goto failed

:run
venv\Scripts\asr-server serve --model auto %*
set STATUS=%errorlevel%
rem A window opened by a double click closes after the last line.
if %STATUS% neq 0 pause
exit /b %STATUS%

:failed
echo Setup failed; see the lines above. Run start.bat again to continue.
pause
exit /b 1
